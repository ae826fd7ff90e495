#include "cluster/job/snapshot.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/crypto.h"
#include "base/file.h"
#include "base/process.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

class Archive : public ::testing::Test {
 protected:
  std::string at(const std::string& path) const { return join_path(folder_.path(), path); }
  void write(const std::string& path, const std::string& content, mode_t mode = 0644) {
    make_directories(parent_path(at(path)));
    write_file_atomic(at(path), content);
    ASSERT_EQ(::chmod(at(path).c_str(), mode), 0);
  }
  void make_tree() {
    write("work/train.py", "print(1)\n");
    write("work/run.sh", "#!/bin/sh\n", 0755);
    write("work/empty", "");
    write("work/big", std::string(700'001, 'x') + "end");
    make_directories(at("work/no files"));
    write("work/deep/" + std::string(120, 'd') + "/" + std::string(90, 'n'), "long");
    write("work/deep/" + std::string(200, 'e') + "/" + std::string(200, 'm'), "longer");
    write("work/deep/ä 水\nline", "odd");
    write("work/deep/\xff\xfe", "no UTF-8");
    write("work/.git/HEAD", "ref");
    ASSERT_EQ(::symlink("train.py", at("work/link").c_str()), 0);
    ASSERT_EQ(::symlink("/etc/passwd", at("work/outside").c_str()), 0);
    ASSERT_EQ(::symlink((std::string(150, 'l') + "/x").c_str(), at("work/long link").c_str()), 0);
    workdir.path = at("work");
  }
  std::string listing(const std::string& folder) const {
    ProcessOptions options;
    options.argv = {
        "sh", "-c",
        "find . -name .git -prune -o -mindepth 1 -printf '%y %P %l ' -a "
        "\\( -type f -a -printf '%m' -a -exec sha256sum '{}' \\; -o -print \\) | LC_ALL=C sort"};
    options.folder = folder;
    const ProcessResult result = run_process(options);
    EXPECT_TRUE(result.ok()) << result.error;
    return result.output;
  }

  TemporaryFolder folder_;
  Workdir workdir;
};

TEST_F(Archive, GnuTarReadsIt) {
  make_tree();
  const WorkdirArchive archive = write_archive_file(workdir, at("a.tar"));
  EXPECT_EQ(archive.bytes, file_size(at("a.tar")));
  EXPECT_EQ(archive.sha256, hex(sha256(read_file(at("a.tar")))));
  EXPECT_EQ(archive.content, 9 + 10 + 700'004 + 4 + 6 + 3 + 8);
  for (const char* locale : {"C", "C.UTF-8"}) {
    const std::string out = at(str("out-", locale));
    make_directories(out);
    ProcessOptions options;
    options.argv = {"tar", "-x", "-f", at("a.tar")};
    options.folder = out;
    options.environment = {{"LC_ALL", locale}};
    const ProcessResult result = run_process(options);
    EXPECT_TRUE(result.ok()) << result.error;
    EXPECT_EQ(result.error, "");  // no warning either
    EXPECT_EQ(listing(out), listing(at("work")));
    EXPECT_FALSE(exists(join_path(out, ".git")));
  }
}

TEST_F(Archive, DependsOnContentAlone) {
  make_tree();
  const std::string was = write_archive(workdir).sha256;
  // A copy elsewhere, made in another order, at another time, with other rights of others.
  ASSERT_TRUE(run_process({"cp", "-r", "--no-preserve=timestamps", at("work"), at("copy")}).ok());
  ASSERT_EQ(::chmod(at("copy/train.py").c_str(), 0600), 0);
  write("copy/zz", "");
  remove_all(at("copy/zz"));
  Workdir copy;
  copy.path = at("copy");
  EXPECT_EQ(write_archive(copy).sha256, was);
  const auto changes = [&](auto&& change, auto&& undo) {
    change();
    EXPECT_NE(write_archive(copy).sha256, was);
    undo();
    EXPECT_EQ(write_archive(copy).sha256, was);
  };
  changes([&] { write("copy/train.py", "print(2)\n"); },
          [&] { write("copy/train.py", "print(1)\n"); });
  changes([&] { ::chmod(at("copy/train.py").c_str(), 0755); },
          [&] { ::chmod(at("copy/train.py").c_str(), 0644); });
  changes([&] { make_directories(at("copy/new")); }, [&] { remove_all(at("copy/new")); });
  changes([&] { ::rename(at("copy/empty").c_str(), at("copy/other").c_str()); },
          [&] { ::rename(at("copy/other").c_str(), at("copy/empty").c_str()); });
}

TEST_F(Archive, LeavesOutWhatIsIgnored) {
  make_tree();
  const std::string was = write_archive(workdir).sha256;
  write("work/data/x.bin", "1");
  write("work/a.pyc", "1");
  write("work/sub/a.pyc", "1");
  remove_all(at("work/sub/a.pyc"));
  remove_all(at("work/sub"));
  EXPECT_NE(write_archive(workdir).sha256, was);
  workdir.exclude = {"/data", "*.pyc"};
  EXPECT_EQ(write_archive(workdir).sha256, was);
  workdir.exclude = {"*.pyc"};
  write("work/.wellspringignore", "data/\n.wellspringignore\n");
  EXPECT_EQ(write_archive(workdir).sha256, was);
}

TEST_F(Archive, NamesTheBiggestFolders) {
  write("work/a/b/raw/x", std::string(300'000, 'x'));
  write("work/a/small", "x");
  write("work/runs/1/x", std::string(100'000, 'x'));
  write("work/runs/2/x", std::string(100'000, 'x'));
  write("work/top", std::string(150'000, 'x'));
  workdir.path = at("work");
  workdir.limit = 650'001;
  EXPECT_EQ(write_archive(workdir).content, 650'001);
  workdir.limit = 650'000;
  EXPECT_EQ(error_of([&] { write_archive(workdir); }, Fault::config),
            str("the workdir ", at("work"),
                " has 650 kB, more than 650 kB; the most is in a/b/raw (300 kB), runs (200 kB), "
                "top (150 kB). Leave out what the job does not need by lines in "
                ".wellspringignore, mount data instead, or raise workdir.limit"));
}

TEST_F(Archive, RefusesWhatIsNoFile) {
  make_tree();
  ASSERT_EQ(::mkfifo(at("work/pipe").c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { write_archive(workdir); }, Fault::config)
                .find("work/pipe is neither a file nor a folder nor a link"),
            std::string::npos);
  workdir.exclude = {"pipe"};
  write_archive(workdir);
  workdir.path = at("none");
  error_of([&] { write_archive(workdir); }, Fault::io);
}

// What changes between two pieces is seen: nothing of two moments goes out.
TEST_F(Archive, SeesChanges) {
  make_tree();
  const auto says = [&](auto&& change) {
    bool done = false;
    const std::string text = error_of(
        [&] {
          write_archive(workdir, [&](std::string_view) {
            if (!done) change();
            done = true;
          });
        },
        Fault::try_again);
    EXPECT_NE(text.find("changed while the workdir was read"), std::string::npos);
    return text;
  };
  EXPECT_NE(says([&] { write("work/train.py", "print(7)\n"); }).find("work/train.py"),
            std::string::npos);
  EXPECT_NE(says([&] { write("work/new", "x"); }).find("work/new"), std::string::npos);
  says([&] { remove_all(at("work/new")); });
  says([&] { ::truncate(at("work/big").c_str(), 5); });
  says([&] {
    remove_all(at("work/big"));
    ASSERT_EQ(::symlink("/etc/passwd", at("work/big").c_str()), 0);
  });
}

TEST_F(Archive, ATryAgainSucceeds) {
  make_tree();
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; i < 20 && !stop; ++i) {
      append_line(at("work/empty"), "x");
      sleep_seconds(0.005);
    }
  });
  const WorkdirArchive archive = write_archive_file(workdir, at("a.tar"));
  stop = true;
  writer.join();
  EXPECT_EQ(archive.sha256, hex(sha256(read_file(at("a.tar")))));
}

}  // namespace
}  // namespace wellspring::cluster
