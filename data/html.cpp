#include "data/html.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/text.h"
#include "data/charset.h"
#include "data/text_builder.h"

namespace wellspring {
namespace {

template <size_t N>
bool among(std::string_view s, const std::array<std::string_view, N>& sorted) {
  return std::binary_search(sorted.begin(), sorted.end(), s);
}

constexpr std::array<std::string_view, 14> kVoid = {"area",  "base",   "br",    "col",  "embed",
                                                    "hr",    "img",    "input", "link", "meta",
                                                    "param", "source", "track", "wbr"};
constexpr std::array<std::string_view, 21> kDropped = {
    "aside",  "audio",  "button", "canvas", "footer",   "form",     "head",
    "iframe", "info",   "label",  "map",    "nav",      "noscript", "object",
    "script", "select", "style",  "svg",    "template", "textarea", "video"};
constexpr std::array<std::string_view, 41> kBlocks = {
    "address", "article", "blockquote", "body",   "caption",  "center",     "dd",
    "details", "div",     "dl",         "dt",     "fieldset", "figcaption", "figure",
    "h1",      "h2",      "h3",         "h4",     "h5",       "h6",         "hr",
    "html",    "item",    "li",         "list",   "main",     "note",       "ol",
    "p",       "page",    "pre",        "screen", "section",  "steps",      "summary",
    "table",   "tbody",   "terms",      "title",  "tr",       "ul"};
// Words of class and id that name what surrounds the text.
constexpr std::array<std::string_view, 26> kBoilerplate = {
    "banner",          "breadcrumb",  "breadcrumbs", "docnav",       "donationframe", "footer",
    "headerlink",      "menu",        "nav",         "navbar",       "navfooter",     "navheader",
    "navigation",      "pagination",  "related",     "searchbox",    "searchframe",   "sidebar",
    "site-footer",     "site-header", "skip-link",   "sphinxfooter", "sphinxsidebar", "toc",
    "toctree-wrapper", "topnav"};

struct Tag {
  std::string name;
  bool closing = false, self_closed = false;
  std::string marks;  // class and id, lower case, words between spaces
  std::string role, href, charset;
  bool hidden = false;
};

bool is_letter(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f'; }

// Reads the tag that begins at s[at] == '<'; returns the place behind it, or npos when it is cut.
size_t read_tag(std::string_view s, size_t at, Tag& tag) {
  size_t i = at + 1;
  if (s[i] == '/') tag.closing = true, ++i;
  size_t begin = i;
  while (i < s.size() && !is_space(s[i]) && s[i] != '>' && s[i] != '/') ++i;
  tag.name = to_lower(s.substr(begin, i - begin));
  if (size_t colon = tag.name.rfind(':'); colon != std::string::npos) tag.name.erase(0, colon + 1);
  while (i < s.size()) {
    while (i < s.size() && (is_space(s[i]) || s[i] == '/')) ++i;
    if (i >= s.size()) break;
    if (s[i] == '>') {
      tag.self_closed = s[i - 1] == '/';
      return i + 1;
    }
    begin = i;
    while (i < s.size() && !is_space(s[i]) && s[i] != '=' && s[i] != '>' && s[i] != '/') ++i;
    std::string_view name = s.substr(begin, i - begin);
    if (name.empty()) ++i;  // a stray '='
    while (i < s.size() && is_space(s[i])) ++i;
    std::string_view value;
    if (i < s.size() && s[i] == '=') {
      ++i;
      while (i < s.size() && is_space(s[i])) ++i;
      if (i < s.size() && (s[i] == '"' || s[i] == '\'')) {
        size_t close = s.find(s[i], i + 1);
        if (close == std::string_view::npos) return std::string_view::npos;
        value = s.substr(i + 1, close - i - 1);
        i = close + 1;
      } else {
        begin = i;
        while (i < s.size() && !is_space(s[i]) && s[i] != '>') ++i;
        value = s.substr(begin, i - begin);
      }
    }
    if (name.size() > 16) continue;
    std::string key = to_lower(name);
    if (key == "class" || key == "id") tag.marks += to_lower(value) + " ";
    if (key == "role") tag.role = to_lower(value);
    if (key == "hidden" || (key == "aria-hidden" && value == "true")) tag.hidden = true;
    if (key == "charset") tag.charset = std::string(value);
    if (key == "content")
      if (size_t c = to_lower(value).find("charset="); c != std::string::npos)
        tag.charset = std::string(trim(value.substr(c + 8)));
  }
  return std::string_view::npos;
}

bool is_boilerplate(const Tag& tag) {
  if (tag.hidden || tag.role == "navigation" || tag.role == "search" || tag.role == "contentinfo")
    return true;
  // A page's own body or main part is never boilerplate, whatever its class says.
  if (tag.marks.empty() || tag.name == "body" || tag.name == "html" || tag.name == "main")
    return false;
  for (const std::string& word : split(tag.marks, ' '))
    if (among(std::string_view(word), kBoilerplate)) return true;
  return false;
}

// No-break spaces become spaces, which collapse like others.
std::string plain_spaces(const std::string& s) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    bool no_break = s[i] == '\xC2' && i + 1 < s.size() && s[i + 1] == '\xA0';
    out += no_break ? ' ' : s[i];
    i += no_break;
  }
  return out;
}

class Extractor {
 public:
  Extractor(std::string_view s, bool main_only) : s_(s), main_only_(main_only) {}

  std::string run() {
    size_t i = 0;
    while (i < s_.size()) {
      size_t open = std::min(s_.find('<', i), s_.size());
      if (open > i) characters(s_.substr(i, open - i));
      if (open == s_.size()) break;
      i = markup(open);
    }
    return out_.take();
  }

 private:
  static constexpr size_t kDeepest = 2048;

  struct Open {
    std::string name;
    bool dropped = false, main = false, shown = false;  // shown: begin() was called
    bool paragraph = false;                             // a <div class="para">
    int items = 0;  // of an <ol>: numbers given; of a <tr>: cells begun
  };

  bool visible() const { return dropped_ == 0 && (!main_only_ || main_ > 0); }

  void characters(std::string_view text) {
    if (!visible()) return;
    if (pre_ > 0) {
      std::string plain = decode_entities(text);
      std::erase(plain, '\r');
      if (pre_fresh_ && starts_with(plain, "\n")) plain.erase(0, 1);
      pre_fresh_ = false;
      out_.verbatim(plain);
    } else if (text.find('&') == std::string_view::npos) {
      out_.text(text);
    } else {
      out_.text(plain_spaces(decode_entities(text)));
    }
  }

  size_t skip_to(std::string_view end, size_t from) {
    size_t at = s_.find(end, from);
    return at == std::string_view::npos ? s_.size() : at + end.size();
  }

  // Handles what begins with '<' at `at`; returns where to go on.
  size_t markup(size_t at) {
    std::string_view rest = s_.substr(at);
    if (starts_with(rest, "<!--")) return skip_to("-->", at + 4);
    if (starts_with(rest, "<![CDATA[")) {
      size_t end = std::min(s_.find("]]>", at), s_.size());
      if (visible()) out_.text(s_.substr(at + 9, end > at + 9 ? end - at - 9 : 0));
      return std::min(end + 3, s_.size());
    }
    if (starts_with(rest, "<!") || starts_with(rest, "<?")) return skip_to(">", at + 2);
    if (rest.size() < 2 || !(is_letter(rest[1]) || (rest[1] == '/' && rest.size() > 2))) {
      characters("<");
      return at + 1;
    }
    Tag tag;
    size_t next = read_tag(s_, at, tag);
    if (next == std::string_view::npos) {  // cut, or a quote that never closes
      size_t close = s_.find('>', at);
      return close == std::string_view::npos ? s_.size() : close + 1;
    }
    if (tag.closing) {
      close(tag.name);
      return next;
    }
    open(tag);
    if (!tag.self_closed && (tag.name == "script" || tag.name == "style")) {
      size_t end = next;
      while (end < s_.size()) {
        end = std::min(s_.find("</", end), s_.size());
        if (end == s_.size() ||
            to_lower(s_.substr(std::min(end + 2, s_.size()), tag.name.size())) == tag.name)
          break;
        end += 2;
      }
      return end;
    }
    return next;
  }

  void open(const Tag& tag) {
    const std::string& name = tag.name;
    if (among(std::string_view(name), kVoid)) {
      if (!visible()) return;
      if (name == "br") {
        if (pre_ > 0)
          out_.verbatim("\n");
        else
          out_.line_break(1);
      }
      if (name == "hr") out_.line_break(2);
      return;
    }
    // These end one another; a page that never closes them would nest without end.
    if (!stack_.empty() && stack_.back().name == "p" && among(std::string_view(name), kBlocks))
      close("p");
    for (std::string_view single : {"li", "p", "td", "th", "tr", "dt", "dd", "option"})
      if (name == single && !stack_.empty() && stack_.back().name == single)
        close(std::string(single));
    Open o;
    o.name = name;
    o.dropped = among(std::string_view(name), kDropped) || is_boilerplate(tag) ||
                (name == "header" && main_ == 0 && articles_ == 0);
    o.paragraph = name == "div" && (tag.marks + " ").find("para ") != std::string::npos;
    o.main = name == "main" || tag.role == "main";
    if (tag.self_closed) {
      if (visible() && !o.dropped) block(name);
      return;
    }
    if (stack_.size() >= kDeepest) return;
    if (o.dropped) ++dropped_;
    if (o.main) ++main_;
    if (name == "article" || name == "section") ++articles_;
    if ((o.shown = visible())) begin(o);
    stack_.push_back(std::move(o));
  }

  void begin(const Open& o) {
    const std::string& name = o.name;
    if (name == "pre" || name == "screen") {
      out_.line_break(2);
      ++pre_;
      pre_fresh_ = true;
      return;
    }
    if (name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6') {
      out_.line_break(2);
      out_.marker(std::string(static_cast<size_t>(name[1] - '0'), '#') + " ");
      return;
    }
    if (name == "title") {  // of XML documents; an HTML page's stands in its head
      out_.line_break(2);
      out_.marker("# ");
      return;
    }
    if (name == "li" || name == "item") {
      Open* list = nearest_list();
      out_.line_break(1);
      std::string indent(static_cast<size_t>(2 * std::max(0, lists_ - 1)), ' ');
      if (list && (list->name == "ol" || list->name == "steps"))
        out_.marker(str(indent, ++list->items, ". "));
      else
        out_.marker(indent + "- ");
      return;
    }
    if (name == "td" || name == "th") {
      if (Open* row = nearest_open("tr"); row) {
        // Not behind an empty first cell (an icon).
        if (row->items++ > 0 && !out_.at_line_start()) out_.separator(" | ");
      }
      ++cells_;
      return;
    }
    if (name == "tr" || name == "dt" || name == "dd") {
      out_.line_break(1);
      if (name == "dd") out_.marker("  ");
      return;
    }
    if (name == "ul" || name == "ol" || name == "list" || name == "steps" || name == "terms") {
      out_.line_break(lists_ == 0 ? 2 : 1);
      ++lists_;
      return;
    }
    block(name, o.paragraph);
  }

  void block(const std::string& name, bool paragraph = false) {
    if (!among(std::string_view(name), kBlocks)) return;
    if (cells_ > 0 && (name == "p" || name == "div"))
      out_.text(" ");
    else
      out_.line_break((name == "div" && !paragraph) || name == "tbody" || lists_ > 0 ? 1 : 2);
  }

  void close(const std::string& name) {
    // The nearest open one, if near: an end tag that fits nothing is ignored.
    size_t i = stack_.size(), stop = i > 64 ? i - 64 : 0;
    while (i > stop && stack_[i - 1].name != name) --i;
    if (i == stop) {
      if (name == "p" && visible()) out_.line_break(2);
      return;
    }
    while (stack_.size() >= i) {
      Open o = std::move(stack_.back());
      stack_.pop_back();
      end(o);
    }
  }

  void end(const Open& o) {
    const std::string& name = o.name;
    if (o.shown) {
      if (name == "pre" || name == "screen") {
        --pre_;
        out_.line_break(2);
      } else if (name == "td" || name == "th") {
        --cells_;
      } else if (name == "ul" || name == "ol" || name == "list" || name == "steps" ||
                 name == "terms") {
        --lists_;
        out_.line_break(lists_ == 0 ? 2 : 1);
      } else if (name == "tr" || name == "dt" || name == "dd" || name == "li" || name == "item") {
        out_.line_break(1);
      } else if (name == "title" || (name.size() == 2 && name[0] == 'h' && name[1] != 'r')) {
        out_.line_break(2);
      } else {
        block(name, o.paragraph);
      }
    }
    if (o.dropped) --dropped_;
    if (o.main) --main_;
    if (name == "article" || name == "section") --articles_;
  }

  Open* nearest_open(std::string_view name) {
    for (size_t i = stack_.size(); i > 0 && stack_.size() - i < 16; --i)
      if (stack_[i - 1].name == name) return &stack_[i - 1];
    return nullptr;
  }
  Open* nearest_list() {
    for (size_t i = stack_.size(); i > 0 && stack_.size() - i < 16; --i)
      for (std::string_view list : {"ul", "ol", "list", "steps", "terms"})
        if (stack_[i - 1].name == list) return &stack_[i - 1];
    return nullptr;
  }

  std::string_view s_;
  bool main_only_, pre_fresh_ = false;
  TextBuilder out_;
  std::vector<Open> stack_;
  int dropped_ = 0, main_ = 0, articles_ = 0, pre_ = 0, lists_ = 0, cells_ = 0;
};

// The character set that the page's first kilobytes declare, "" when none.
std::string declared_charset(std::string_view s) {
  s = s.substr(0, 4096);
  for (size_t at = 0; (at = s.find("<meta", at)) != std::string_view::npos; ++at) {
    Tag tag;
    if (read_tag(s, at, tag) == std::string_view::npos) break;
    if (!tag.charset.empty()) return tag.charset;
  }
  if (starts_with(s, "<?xml")) {
    size_t at = s.find("encoding="), end = s.find("?>");
    if (at != std::string_view::npos && at < end && at + 10 < s.size()) {
      size_t close = s.find(s[at + 9], at + 10);
      if (close != std::string_view::npos) return std::string(s.substr(at + 10, close - at - 10));
    }
  }
  return "";
}

bool has_main(std::string_view s) {
  for (std::string_view mark : {"<main", "role=\"main\"", "role='main'"})
    if (s.find(mark) != std::string_view::npos) return true;
  return false;
}

}  // namespace

std::string html_text(std::string_view html) {
  std::string converted;
  std::string charset = declared_charset(html);
  if (!charset.empty() && !utf8_valid(html) && to_utf8(html, charset, &converted)) html = converted;
  if (has_main(html)) {
    std::string text = Extractor(html, true).run();
    if (!trim(text).empty()) return text;
  }
  return Extractor(html, false).run();
}

}  // namespace wellspring
