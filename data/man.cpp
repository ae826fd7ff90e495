#include "data/man.h"

#include <algorithm>
#include <map>
#include <vector>

#include "base/text.h"
#include "data/man_escapes.h"
#include "data/mdoc.h"
#include "data/text_builder.h"

namespace wellspring {
namespace {

bool control(std::string_view line) { return !line.empty() && (line[0] == '.' || line[0] == '\''); }

// Arguments of a request: words, or "quoted with "" inside"; escapes stay.
std::vector<std::string> arguments(std::string_view s) {
  std::vector<std::string> out;
  size_t i = 0;
  while (true) {
    while (i < s.size() && (s[i] == ' ' || s[i] == '\t')) ++i;
    if (i >= s.size()) return out;
    if (s[i] == '\\' && i + 1 < s.size() && s[i + 1] == '"') return out;  // a comment
    std::string word;
    if (s[i] == '"') {
      for (++i; i < s.size(); ++i) {
        if (s[i] == '"') {
          if (i + 1 < s.size() && s[i + 1] == '"')
            ++i;
          else
            break;
        }
        word += s[i];
      }
      ++i;
    } else {
      for (; i < s.size() && s[i] != ' ' && s[i] != '\t'; ++i) {
        word += s[i];
        if (s[i] == '\\' && i + 1 < s.size()) word += s[++i];
      }
    }
    out.push_back(std::move(word));
  }
}

class Page {
 public:
  explicit Page(std::string_view s) : rest_(s) {}

  std::string run() {
    std::string line;
    while (read(&line)) process(line);
    return out_.take();
  }

 private:
  // The next line, with lines that end in a backslash joined.
  bool read(std::string* line) {
    line->clear();
    while (!rest_.empty()) {
      size_t end = std::min(rest_.find('\n'), rest_.size());
      std::string_view one = rest_.substr(0, end);
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      if (ends_with(one, "\r")) one.remove_suffix(1);
      size_t slashes = 0;
      while (slashes < one.size() && one[one.size() - 1 - slashes] == '\\') ++slashes;
      bool joined = slashes % 2 == 1;
      if (joined) one.remove_suffix(1);
      *line += one;
      if (!joined || rest_.empty()) return true;
    }
    return !line->empty();
  }

  void skip_until(std::string_view request) {
    std::string line;
    while (read(&line))
      if (control(line) && trim(std::string_view(line).substr(1)) == request) return;
  }

  std::string plain(std::string_view s) const { return man_escapes(s, strings_); }

  std::string joined(const std::vector<std::string>& args, std::string_view separator) const {
    std::string out;
    for (size_t i = 0; i < args.size(); ++i) {
      if (i > 0) out += separator;
      out += plain(args[i]);
    }
    return out;
  }

  // Text of one line: filled, or kept inside .nf; the first after .TP is its tag.
  void text(const std::string& s) {
    if (no_fill_ > 0) {
      out_.line_break(1);
      out_.verbatim(s.empty() ? "" : s);
      if (s.empty()) out_.line_break(2);
      out_.line_break(1);
    } else {
      if (trim(s).empty()) {
        out_.line_break(2);
        return;
      }
      if (s[0] == ' ' || s[0] == '\t') out_.line_break(1);
      out_.text("\n" + s);
    }
    if (tag_) {
      tag_ = false;
      out_.line_break(1);
    }
  }

  void heading(const std::string& s, const char* marker) {
    no_fill_ = 0;
    tag_ = false;
    if (trim(s).empty()) return;
    out_.line_break(2);
    out_.marker(marker);
    out_.text(s);
    out_.line_break(2);
  }

  void process(const std::string& line) {
    if (!control(line)) {
      if (!starts_with(line, "\\\"")) text(plain(line));
      return;
    }
    std::string_view s = std::string_view(line).substr(1);
    while (!s.empty() && (s[0] == ' ' || s[0] == '\t')) s.remove_prefix(1);
    size_t end = 0;
    while (end < s.size() && s[end] != ' ' && s[end] != '\t' &&
           !(s[end] == '\\' && (end > 0 || (s.size() > 1 && s[1] == '"'))))
      ++end;
    std::string name(s.substr(0, end));
    std::string_view rest = s.substr(end);
    if (name.empty() || name[0] == '\\') return;  // a comment, or the end of a block
    if (!condition(name, rest)) request(name, rest, arguments(rest));
  }

  // .if, .ie, .el: what nroff would do; numeric and string conditions count as false.
  bool condition(const std::string& name, std::string_view rest) {
    if (name != "if" && name != "ie" && name != "el") return false;
    bool value = !last_condition_;
    if (name != "el") {
      rest = trim(rest);
      bool negated = starts_with(rest, "!");
      if (negated) rest.remove_prefix(1);
      value = starts_with(rest, "n") && (rest.size() < 2 || rest[1] == ' ' || rest[1] == '\\');
      value ^= negated;
      size_t space = rest.find(' '), brace = rest.find("\\{");
      size_t cut = std::min({space, brace, rest.size()});
      rest.remove_prefix(cut);
      if (name == "ie") last_condition_ = value;
    }
    rest = trim(rest);
    if (starts_with(rest, "\\{")) {
      rest.remove_prefix(2);
      if (!value) skip_block(rest);
    }
    if (value && !trim(rest).empty() && ++depth_ < 50) process(std::string(trim(rest)));
    depth_ = 0;
    return true;
  }

  void skip_block(std::string_view first) {
    int open = 1;
    auto count = [&](std::string_view s) {
      for (size_t i = 0; i + 1 < s.size(); ++i)
        if (s[i] == '\\') {
          open += s[i + 1] == '{' ? 1 : s[i + 1] == '}' ? -1 : 0;
          ++i;
        }
    };
    count(first);
    std::string line;
    while (open > 0 && read(&line)) count(line);
  }

  void request(const std::string& name, std::string_view raw, std::vector<std::string> args) {
    if (name == "TH" || name == "Dt") {
      if (!args.empty()) {
        std::string title = plain(args[0]);
        if (args.size() > 1) title += "(" + plain(args[1]) + ")";
        heading(title, "# ");
      }
    } else if (name == "SH" || name == "Sh") {
      heading(joined(args, " "), "## ");
    } else if (name == "SS" || name == "Ss") {
      heading(joined(args, " "), "### ");
    } else if (name == "PP" || name == "P" || name == "LP" || name == "Pp" || name == "sp" ||
               name == "Sp" || name == "HP" || name == "Lp") {
      out_.line_break(2);
      tag_ = false;
    } else if (name == "br" || name == "ti" || name == "RS" || name == "RE") {
      out_.line_break(1);
    } else if (name == "TP" || name == "TQ") {
      out_.line_break(name == "TP" ? 2 : 1);
      tag_ = true;
    } else if (name == "IP") {
      out_.line_break(2);
      tag_ = false;
      std::string tag = args.empty() ? "" : plain(args[0]);
      if (tag == "•" || tag == "*" || tag == "-" || tag == "o" || tag == "·") {
        out_.marker("- ");
      } else if (!tag.empty()) {
        out_.text(tag);
        if (tag.size() > 4)
          out_.line_break(1);
        else
          out_.text(" ");
      }
    } else if (name == "nf" || name == "EX" || name == "Vb") {
      if (no_fill_++ == 0) out_.line_break(2);
    } else if (name == "fi" || name == "EE" || name == "Ve") {
      if (no_fill_ > 0) --no_fill_;
      out_.line_break(2);
    } else if (name == "de" || name == "am" || name == "de1" || name == "ig") {
      size_t ending = name == "ig" ? 0 : 1;
      skip_until(args.size() > ending ? args[ending] : ".");
    } else if (name == "ds" && args.size() >= 1) {
      strings_.define(args[0], args.size() > 1 ? joined({args.begin() + 1, args.end()}, " ") : "");
    } else if (name == "TS") {
      table();
    } else if (name == "EQ") {
      skip_until("EN");
    } else {
      inline_request(name, raw, args);
    }
  }

  void inline_request(const std::string& name, std::string_view raw,
                      const std::vector<std::string>& args) {
    static const std::map<std::string_view, std::string_view, std::less<>> kFonts = {
        {"B", " "}, {"I", " "}, {"SM", " "}, {"SB", " "}, {"R", " "}, {"BR", ""},
        {"RB", ""}, {"IR", ""}, {"RI", ""},  {"BI", ""},  {"IB", ""}, {"CW", " "}};
    if (auto font = kFonts.find(name); font != kFonts.end()) {
      if (!args.empty()) text(joined(args, font->second));
      return;
    }
    if (name == "UR" || name == "MT") {
      link_ = args.empty() ? "" : plain(args[0]);
    } else if (name == "UE" || name == "ME") {
      std::string after = args.empty() ? "" : plain(args[0]);
      if (!link_.empty()) text("<" + link_ + ">" + after);
      link_.clear();
    } else if (name == "URL") {
      if (args.size() > 1) text(plain(args[1]) + " <" + plain(args[0]) + ">");
    } else if (name == "SY") {
      out_.line_break(1);
      text(joined(args, " "));
    } else if (name == "OP") {
      text("[" + joined(args, " ") + "]");
    } else {
      mdoc(name, args);
    }
  }

  void mdoc(const std::string& name, std::vector<std::string> args) {
    for (std::string& a : args) a = plain(a);
    if (name == "Nm" && !args.empty() && name_.empty()) name_ = args[0];
    if (is_mdoc_inline(name)) {
      args.insert(args.begin(), name);
      text(mdoc_line(args, name_));
    } else if (name == "Nd") {
      text("- " + join(args, " "));
    } else if (name == "Bl") {
      lists_.push_back(args.empty() ? "" : args[0]);
      items_.push_back(0);
      out_.line_break(2);
    } else if (name == "El") {
      if (!lists_.empty()) lists_.pop_back(), items_.pop_back();
      out_.line_break(2);
    } else if (name == "It") {
      out_.line_break(1);
      std::string kind = lists_.empty() ? "" : lists_.back();
      if (kind == "-bullet" || kind == "-dash" || kind == "-hyphen" || kind == "-item")
        out_.marker("- ");
      else if (kind == "-enum")
        out_.marker(str(++items_.back(), ". "));
      else
        out_.line_break(2);
      if (!args.empty()) {
        text(mdoc_line(args, name_));
        out_.line_break(1);
      }
    } else if (name == "Bd") {
      out_.line_break(2);
      bool kept = !args.empty() && (args[0] == "-literal" || args[0] == "-unfilled");
      displays_.push_back(kept);
      if (kept) ++no_fill_;
    } else if (name == "Ed") {
      if (!displays_.empty()) {
        if (displays_.back() && no_fill_ > 0) --no_fill_;
        displays_.pop_back();
      }
      out_.line_break(2);
    } else if (name == "Dl" || name == "D1") {
      out_.line_break(2);
      out_.verbatim("    " + mdoc_line(args, name_));
      out_.line_break(2);
    }
    // Everything else sets the page: .ad .hy .ft .in .ne .nr .PD .so .ta ...
  }

  // tbl: options and formats are skipped, the cells joined.
  void table() {
    out_.line_break(2);
    char tab = '\t';
    std::string line;
    bool in_format = true, first = true;
    std::string block;
    int in_block = 0;
    while (read(&line)) {
      if (starts_with(line, ".TE")) break;
      if (in_format) {
        std::string_view s = trim(line);
        if (first && ends_with(s, ";"))
          if (size_t at = s.find("tab("); at != std::string_view::npos && at + 4 < s.size())
            tab = s[at + 4];
        first = false;
        if (ends_with(s, ".")) in_format = false;
        continue;
      }
      if (starts_with(line, ".T&")) {
        in_format = true;
        continue;
      }
      if (starts_with(line, "T}") && in_block > 0) {
        --in_block;
        block += line.substr(2);
      } else if (control(line)) {
        if (in_block == 0) continue;
        std::vector<std::string> args = arguments(std::string_view(line).substr(1));
        bool text_macro = !args.empty() && args[0].size() <= 2 && args.size() > 1 &&
                          (args[0][0] == 'B' || args[0][0] == 'I' || args[0][0] == 'R');
        if (text_macro)
          block += " " + join({args.begin() + 1, args.end()}, args[0].size() > 1 ? "" : " ");
        continue;
      } else {
        block += (block.empty() || ends_with(block, std::string(1, tab)) ? "" : " ") + line;
      }
      if (ends_with(block, "T{")) {
        block.resize(block.size() - 2);
        ++in_block;
        continue;
      }
      if (in_block > 0) continue;
      row(block, tab);
      block.clear();
    }
    if (!block.empty()) row(block, tab);
    out_.line_break(2);
  }

  void row(const std::string& block, char tab) {
    std::string_view s = trim(block);
    if (s.empty() || s == "_" || s == "=") return;
    std::vector<std::string> cells;
    for (const std::string& cell : split(block, tab)) {
      std::string text(trim(plain(cell)));
      if (text != "\\^" && text != "_") cells.push_back(text);
    }
    while (!cells.empty() && cells.back().empty()) cells.pop_back();
    if (cells.empty()) return;
    out_.line_break(1);
    out_.verbatim(join(cells, " | "));
    out_.line_break(1);
  }

  std::string_view rest_;
  TextBuilder out_;
  ManStrings strings_;
  std::string name_, link_;
  std::vector<std::string> lists_;
  std::vector<int> items_;
  std::vector<bool> displays_;
  int no_fill_ = 0, depth_ = 0;
  bool tag_ = false, last_condition_ = false;
};

}  // namespace

std::string man_text(std::string_view troff) { return Page(troff).run(); }

bool looks_like_man(std::string_view s) {
  int control_lines = 0, lines = 0;
  while (!s.empty()) {
    size_t end = std::min(s.find('\n'), s.size());
    std::string_view line = s.substr(0, end);
    s.remove_prefix(std::min(end + 1, s.size()));
    if (trim(line).empty()) continue;
    ++lines;
    if (!control(line)) continue;
    ++control_lines;
    std::string_view request = trim(line.substr(1));
    for (std::string_view macro : {"TH ", "Dd ", "SH ", "Sh ", "Dt "})
      if (starts_with(request, macro)) return true;
  }
  return lines > 0 && control_lines == lines;  // ".so man3/other.3", or comments alone so far
}

}  // namespace wellspring
