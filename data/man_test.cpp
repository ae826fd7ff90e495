#include "data/man.h"

#include <gtest/gtest.h>

#include "data/documents.h"

namespace wellspring {
namespace {

std::string man(std::string_view s) { return clean_text(s, Format::man); }
std::string pod(std::string_view s) { return clean_text(s, Format::pod); }

TEST(Man, Page) {
  EXPECT_EQ(man(R"(.\" a comment
'\" t
.TH LS 1 2022 "GNU"
.SH NAME
ls \- list \fBdirectory\fP
contents
.SH "SEE ALSO"
.SS Sub part
.PP
Use
.BR ls (1),
.IR "a b" .
.TP
\fB\-a\fR, \fB\-\-all\fR
do not ignore
.TP
.B \-b
print
.IP \(bu 2
bullet
.IP 10. 3
ten
.nf
int  main(void);
    x
.fi
done)"),
            R"(# LS(1)

## NAME

ls - list directory contents

## SEE ALSO

### Sub part

Use ls(1), a b.

-a, --all
do not ignore

-b
print

- bullet

10. ten

int  main(void);
    x

done)");
}

TEST(Man, ChineseLinesJoinWithoutSpace) {
  EXPECT_EQ(man(".SH 描述\n列出文件\n的信息\nls\n命令\n"), "## 描述\n\n列出文件的信息 ls 命令");
}

TEST(Man, EscapesAndStrings) {
  EXPECT_EQ(man(".ds Xy value\n.SH A\n\\*(Xy \\(em \\[u4E2D] \\(lqq\\(rq \\e \\s-1BIG\\s0 a\\~b "
                "\\h'2n'c \\*(lqd\\*(rq\\c \\\" comment\n"),
            "## A\n\nvalue — 中 “q” \\ BIG a b c “d”");
}

TEST(Man, ConditionsAndDefinitions) {
  EXPECT_EQ(man(".de XX\nnot this\n..\n.ie n \\{\\\n.ds Q yes\n.\\}\n.el \\{\\\n.ds Q no\n.\\}\n"
                ".if t not this\n.if \\n(.g not this\n.SH A\n\\*Q\n.ig\nnot this\n..\nend\n"),
            "## A\n\nyes end");
}

TEST(Man, Tables) {
  EXPECT_EQ(man(".SH A\n.TS\ntab(|) allbox;\nl l.\na|b\n_\nT{\nlong\ntext\nT}|c\n.TE\nend\n"),
            "## A\n\na | b\nlong text | c\n\nend");
}

TEST(Man, Mdoc) {
  EXPECT_EQ(man(R"(.Dd May 1
.Dt CAT 1
.Os
.Sh NAME
.Nm cat
.Nd print files
.Sh SYNOPSIS
.Nm
.Op Fl abc
.Op Ar file ...
.Sh DESCRIPTION
See
.Xr ls 1 ,
.Fn open path flags
and
.Dq quoted text .
.Bl -bullet
.It
one
.It
two
.El
.Bl -tag -width x
.It Fl a Ns Ar x
first
.El
.Bd -literal
int  x;
.Ed
)"),
            R"(# CAT(1)

## NAME

cat - print files

## SYNOPSIS

cat [-abc] [file ...]

## DESCRIPTION

See ls(1), open(path, flags) and “quoted text”.

- one
- two

-ax
first

int  x;)");
}

TEST(Man, AnythingGoes) {
  for (std::string_view s : {"",
                             ".",
                             "'",
                             "\\",
                             ".\\",
                             ".TH",
                             ".SH \"open",
                             ".if",
                             ".ie n \\{",
                             ".el",
                             ".TS",
                             ".TS\nT{",
                             "\\f",
                             "\\(",
                             "\\[x",
                             "\\*",
                             "\\h'",
                             ".de",
                             ".Op Op Op",
                             ".It",
                             ".El",
                             ".Ed",
                             ".if n .if n .if n .if n x"})
    man(s);
  EXPECT_EQ(man("a\\\nb"), "ab");
}

TEST(Man, Detected) {
  EXPECT_TRUE(looks_like_man(".\\\" c\n.TH A 1\n"));
  EXPECT_TRUE(looks_like_man(".so man3/x.3\n"));
  EXPECT_FALSE(looks_like_man("Version 1\n.hidden files\n"));
  EXPECT_FALSE(looks_like_man(""));
}

TEST(Pod, Page) {
  EXPECT_EQ(pod(R"(#!/usr/bin/perl
my $code = 1;

=head1 NAME

perl - I<the> B<language> C<< a->b >> E<lt>E<eacute>E<gt>

=over 4

=item * bullet

=item name

Text L<perlvar>, L<the page|perlop/X>, L</Section>, L<perlfunc/open>
joined X<index> here.

=back

=begin html

<b>no</b>

=end html

    verbatim  C<x>

=cut

more code
)"),
            R"(# NAME

perl - the language a->b <é>

- bullet

- name

Text perlvar, the page, "Section", "open" in perlfunc joined here.

    verbatim  C<x>)");
}

TEST(Pod, AnythingGoes) {
  for (std::string_view s : {"=", "=head", "=head1", "=item", "=pod\n\nE<", "=pod\n\nB<<<",
                             "=pod\n\nL<|", "=begin", "=end", "=cut"})
    pod(s);
  std::string deep = "=pod\n\n";
  for (int i = 0; i < 10000; ++i) deep += "B<";
  EXPECT_FALSE(pod(deep).empty());
}

}  // namespace
}  // namespace wellspring
