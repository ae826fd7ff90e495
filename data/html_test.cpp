#include "data/html.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "data/charset.h"
#include "data/documents.h"

namespace wellspring {
namespace {

std::string clean(std::string_view html) { return clean_text(html, Format::html); }

struct Case {
  const char *html, *text;
};

TEST(Html, Cases) {
  const Case cases[] = {
      {"<p>One\n two <b>three</b>.</p><p>Four", "One two three.\n\nFour"},
      {"<h1>A</h1><h3>B <em>c</em></h3>x", "# A\n\n### B c\n\nx"},
      {"<ul><li>a<li><p>b</p><ul><li>c</ul><li>d</ul>e", "- a\n- b\n  - c\n- d\n\ne"},
      {"<ol><li>a</li><li>b</li></ol>", "1. a\n2. b"},
      {"<pre>\n a\n  b &lt;\n</pre>c  d", " a\n  b <\n\nc d"},
      {"<table><tr><th>a<th>b<tr><td><p>1</p></td><td>2</td></table>", "a | b\n1 | 2"},
      {"<table><tr><td><img src=x></td><td>Note</td></tr></table>", "Note"},
      {"<dl><dt>t</dt><dd>d</dd><dt>u<dd>v</dl>", "t\n  d\nu\n  v"},
      {"a<br>b<br/>c", "a\nb\nc"},
      // Chinese: a line break between ideographs is no space.
      {"<p>中文\n   文字 and\n  more\n字</p>", "中文文字 and more 字"},
      // What surrounds the text.
      {"<head><title>t</title></head><body><nav>n</nav><p>x</p><footer>f</footer>", "x"},
      {"<header>site</header><article><header><h1>T</h1></header>x</article>", "# T\n\nx"},
      {"<script>if (a<b) '</p>'</script><style>p{}</style>x<noscript>y</noscript>", "x"},
      {"<div class='big navheader'>n</div><div id=toc><ul><li>1</ul></div><p>x</p>", "x"},
      {"<body class='sidebar'><h1>A<a class='headerlink' href='#a'>¶</a></h1>", "# A"},
      {"<div>side</div><div role=\"main\"><p>x</p></div><div>more</div>", "x"},
      {"<div>side</div><main><p>x</p></main>", "x"},
      {"<main></main><p>x</p>", "x"},  // an empty main part is none
      {"<p hidden>h</p>x", "x"},
      // Entities.
      {"&lt;&amp;&eacute;&#20013;&#x6587;&#150;&nosuch;&#xD800;&copy&#;",
       "<&é中文–&nosuch;\xEF\xBF\xBD©&#;"},
      {"a&nbsp; &nbsp;b", "a b"},
      {"?a=1&copy=2&lt", "?a=1&copy=2<"},
      // Tolerance.
      {"a < b <3 c", "a < b <3 c"},
      {"<p>a</b></div></p>b", "a\n\nb"},
      {"<a title=\"x>y\">k</a><a title='", "k"},
      {"x<!-- <p>no</p> -->y<!-- open", "xy"},
      {"<![CDATA[a & b]]>", "a & b"},
      {"<?xml version='1.0'?><!DOCTYPE html><a id='1'/>x<script src='s'/>y", "xy"},
      {"", ""},
      {"<", "<"},
      {"</", "</"},
      {"plain", "plain"},
  };
  for (const Case& c : cases) EXPECT_EQ(clean(c.html), c.text) << c.html;
}

TEST(Html, Mallard) {
  EXPECT_EQ(clean("<page><info><desc>d</desc></info><title>T</title><steps><item><p>a</p></item>"
                  "<item><p>b</p></item></steps></page>"),
            "# T\n\n1. a\n2. b");
}

TEST(Html, DeclaredCharset) {
  EXPECT_EQ(clean("<meta charset=gb2312><p>\xD6\xD0\xCE\xC4"), "中文");
  EXPECT_EQ(clean("<meta http-equiv=Content-Type content=\"text/html; charset=iso-8859-1\">"
                  "caf\xE9"),
            "café");
  EXPECT_EQ(clean("<?xml version='1.0' encoding='gbk'?><p>\xD6\xD0</p>"), "中");
  EXPECT_EQ(clean("<meta charset=nosuch>caf\xE9"), "caf\xE9");  // counted later as invalid
  EXPECT_EQ(clean("<meta charset=gb2312><p>中文"), "中文");     // it is UTF-8, whatever it says
}

TEST(Html, DeepAndLongInputsAreFast) {
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "<div><ul><li>";
  deep += "x";
  EXPECT_NE(clean(deep).find('x'), std::string::npos);
  std::string open(200000, '<');
  EXPECT_EQ(clean(open).size(), open.size());
  std::string ends;
  for (int i = 0; i < 100000; ++i) ends += "<b></p>";
  EXPECT_EQ(clean(ends), "");
  std::string entities(300000, '&');
  EXPECT_EQ(clean(entities).size(), entities.size());
}

}  // namespace
}  // namespace wellspring
