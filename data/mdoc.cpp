#include "data/mdoc.h"

#include <map>

#include "base/text.h"

namespace wellspring {
namespace {

struct Pair {
  std::string_view open, close;
};

const std::map<std::string_view, Pair, std::less<>> kEnclosures = {
    {"Aq", {"<", ">"}}, {"Bq", {"[", "]"}},   {"Brq", {"{", "}"}},
    {"Dq", {"“", "”"}}, {"Op", {"[", "]"}},   {"Pq", {"(", ")"}},
    {"Ql", {"‘", "’"}}, {"Qq", {"\"", "\""}}, {"Sq", {"‘", "’"}}};
const std::map<std::string_view, std::string_view, std::less<>> kOpeners = {
    {"Ao", "<"}, {"Bo", "["}, {"Do", "“"}, {"Oo", "["}, {"Po", "("}, {"Qo", "\""}, {"So", "‘"}};
const std::map<std::string_view, std::string_view, std::less<>> kClosers = {
    {"Ac", ">"}, {"Bc", "]"}, {"Dc", "”"}, {"Oc", "]"}, {"Pc", ")"}, {"Qc", "\""}, {"Sc", "’"}};
const std::map<std::string_view, std::string_view, std::less<>> kNames = {
    {"At", "AT&T UNIX"}, {"Bsx", "BSD/OS"}, {"Bx", "BSD"},     {"Dx", "DragonFly"},
    {"Fx", "FreeBSD"},   {"Nx", "NetBSD"},  {"Ox", "OpenBSD"}, {"Ux", "UNIX"}};
const std::map<std::string_view, int, std::less<>> kPlain = {
    {"Ad", 0}, {"An", 0}, {"Ar", 0}, {"Cd", 0}, {"Cm", 0}, {"Dv", 0}, {"Em", 0},
    {"Er", 0}, {"Ev", 0}, {"Fa", 0}, {"Fl", 0}, {"Fn", 0}, {"Ft", 0}, {"Ic", 0},
    {"In", 0}, {"Li", 0}, {"Lk", 0}, {"Ms", 0}, {"Mt", 0}, {"Nm", 0}, {"No", 0},
    {"Ns", 0}, {"Pa", 0}, {"Pf", 0}, {"St", 0}, {"Sx", 0}, {"Sy", 0}, {"Tn", 0},
    {"Va", 0}, {"Vt", 0}, {"Xr", 0}, {"Xo", 0}, {"Xc", 0}, {"Ap", 0}};

bool is_closing_mark(const std::string& w) {
  return w.size() == 1 && std::string_view(".,;:)]?!|").find(w[0]) != std::string_view::npos;
}

}  // namespace

bool is_mdoc_inline(std::string_view m) {
  return kPlain.count(m) || kEnclosures.count(m) || kOpeners.count(m) || kClosers.count(m) ||
         kNames.count(m);
}

std::string mdoc_line(const std::vector<std::string>& words, const std::string& name) {
  std::string out;
  bool space = false;
  std::vector<std::string_view> closers;
  auto put = [&](std::string_view w, bool space_after = true) {
    if (w.empty()) return;
    if (space && !out.empty()) out += ' ';
    out += w;
    space = space_after;
  };
  std::string current;  // the macro that the words belong to
  bool first = true;    // no word of it yet
  auto leave = [&] {
    if (current == "Nm" && first) put(name);
    if (current == "Fl" && first) put("-");
    if (current == "Ar" && first) put("file ...");
    current.clear();
  };
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& w = words[i];
    if (is_mdoc_inline(w)) {
      leave();
      if (auto e = kEnclosures.find(w); e != kEnclosures.end()) {
        put(e->second.open, false);
        closers.push_back(e->second.close);
      } else if (auto o = kOpeners.find(w); o != kOpeners.end()) {
        put(o->second, false);
      } else if (auto c = kClosers.find(w); c != kClosers.end()) {
        space = false;
        put(c->second);
      } else if (auto n = kNames.find(w); n != kNames.end()) {
        put(n->second);
      } else if (w == "Ns") {
        space = false;
      } else if (w == "Ap") {
        space = false;
        put("'", false);
      } else if (w != "No" && w != "Xo" && w != "Xc") {
        current = w;
        first = true;
      }
      continue;
    }
    if (is_closing_mark(w)) {
      leave();
      // Marks at the line's end stand behind what encloses the line.
      bool last = true;
      for (size_t k = i; k < words.size(); ++k) last &= is_closing_mark(words[k]);
      if (last)
        for (; !closers.empty(); closers.pop_back()) out += closers.back();
      out += w;
      space = true;
      continue;
    }
    if (w == "(" || w == "[") {
      put(w, false);
      continue;
    }
    if (current == "Fl") {
      put("-" + w);
    } else if (current == "Pf") {
      put(w, false);
      current.clear();
    } else if (current == "Xr" && !first) {
      space = false;
      put("(" + w + ")");
      current.clear();
    } else if (current == "Fn" && first) {
      put(w + "(", false);
      bool any = false;
      while (i + 1 < words.size() && !is_closing_mark(words[i + 1]) &&
             !is_mdoc_inline(words[i + 1])) {
        if (any) out += ", ";
        out += words[++i];
        any = true;
      }
      out += ")";
      space = true;
      current.clear();
    } else {
      put(w);
    }
    first = false;
  }
  leave();
  for (; !closers.empty(); closers.pop_back()) out += closers.back();
  return out;
}

}  // namespace wellspring
