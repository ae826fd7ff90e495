#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/error.h"
#include "base/test_error.h"
#include "base/text.h"

namespace wellspring {
namespace {

template <class F>
std::string io_error(F f, Fault fault = Fault::io) {
  return error_of(f, fault);
}

TEST(File, WriteReadMapAppend) {
  TemporaryFolder folder;
  std::string path = join_path(folder.path(), "a.bin");
  std::string content(300000, 'x');
  content[7] = '\0';
  write_file_atomic(path, content);
  EXPECT_EQ(read_file(path), content);
  EXPECT_EQ(file_size(path), 300000);
  MappedFile map(path);
  MappedFile copy = map;
  EXPECT_EQ(copy.view(), content);
  EXPECT_EQ(copy.path(), path);
  EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{"a.bin"});
  write_file_atomic(path, "");
  EXPECT_EQ(MappedFile(path).view(), "");
  EXPECT_EQ(map.view(), content);  // the old mapping holds the old file
  append_line(path, "one");
  append_line(path, "two");
  EXPECT_EQ(read_file(path), "one\ntwo\n");
  EXPECT_FALSE(read_file("/proc/self/status").empty());  // a file that says it has 0 bytes
}

TEST(File, AWatchedFileTellsOfChanges) {
  TemporaryFolder folder;
  const std::string path = join_path(folder.path(), "a");
  write_file_atomic(path, "old");
  const MappedFile map = MappedFile::watched(path), plain(path);
  usleep(20000);  // a file's time is that of a tick
  write_file_atomic(path, "another one, by a rename");
  EXPECT_FALSE(map.changed());
  map.check_unchanged();
  const MappedFile next = MappedFile::watched(path), copy = next;
  append_line(path, "more");
  EXPECT_TRUE(next.changed() && copy.changed());
  EXPECT_NE(io_error([&] { copy.check_unchanged(); }).find(path), std::string::npos);
  EXPECT_FALSE(map.changed() || MappedFile(path).changed() || MappedFile().changed());
  EXPECT_LT(file_age(path), 60);
}

// In a process of its own, as the handler stays. Its exit status: 0 is as it should be.
int read_what_was_cut(const std::string& path, bool watched) {
  const pid_t child = fork();
  if (child == 0) {
    const MappedFile other(path);
    const MappedFile map = watched ? MappedFile::watched(path) : MappedFile(path);
    survive_lost_pages();
    int wrong = ::truncate(path.c_str(), 5000);
    int64_t sum = 0;
    for (const char c : map.view()) sum += c;
    wrong |= sum > 120 * 5000;  // what was read before the lost page, at most
    wrong |= !map.changed() || other.data()[0] != 'x';
    _exit(wrong);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST(File, LostPagesOfAWatchedFileAreZeros) {
  TemporaryFolder folder;
  const std::string path = join_path(folder.path(), "a");
  write_file_atomic(path, std::string(300000, 'x'));
  EXPECT_EQ(read_what_was_cut(path, true), 0);
  write_file_atomic(path, std::string(300000, 'x'));
  EXPECT_NE(read_what_was_cut(path, false), 0);  // nobody would know
}

TEST(File, AFetchedFileIsTheSame) {
  TemporaryFolder folder;
  const std::string path = join_path(folder.path(), "a"), whole(5 << 20, 'x');
  write_file_atomic(path, whole);
  const MappedFile file(path);
  file.fetch();
  EXPECT_TRUE(file.view() == whole);
  for (int i = 0; i < 20; ++i) MappedFile(path).fetch();  // unmapped while it is read
  write_file_atomic(path, "");
  MappedFile(path).fetch();
  MappedFile().fetch();
}

TEST(File, AtomicWriterWithoutCommitLeavesNothing) {
  TemporaryFolder folder;
  std::string path = folder.path() + "/a";
  write_file_atomic(path, "old");
  {
    AtomicWriter writer(path);
    for (int i = 0; i < 100; ++i) writer.write(std::string(10000, 'y').data(), 10000);
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(list_directory(folder.path()).size(), 1u);
  AtomicWriter writer(path);
  for (int i = 0; i < 100; ++i) writer.write(std::string(10000, 'y').data(), 10000);
  writer.commit();
  EXPECT_EQ(file_size(path), 1000000);
}

TEST(File, AtomicWriterKeepsWritesOfAllSizesInOrder) {
  TemporaryFolder folder;
  const std::string path = join_path(folder.path(), "a");
  std::string whole;
  AtomicWriter writer(path);
  for (const size_t size : {1, 3 << 20, 100, (2 << 20) - 101, 5, 2 << 20, 4 << 20, 0, 777, 1 << 20, 1 << 20}) {
    std::string piece(size, '\0');
    for (size_t i = 0; i < size; ++i) piece[i] = static_cast<char>((whole.size() + i) * 2654435761u >> 20);
    writer.write(piece.data(), size);
    whole += piece;
  }
  writer.commit();
  EXPECT_TRUE(read_file(path) == whole);
}

TEST(File, FullDiskLeavesTheOldFile) {
  TemporaryFolder folder;
  std::string path = folder.path() + "/a";
  write_file_atomic(path, "old");
  pid_t child = fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file_atomic(path, std::string(5000, 'n'));
    } catch (const Error& e) {
      _exit(std::string(e.what()).find(path) != std::string::npos ? 0 : 2);
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(list_directory(folder.path()).size(), 1u);
}

TEST(File, ErrorsNameThePath) {
  EXPECT_EQ(io_error([] { read_file("/nowhere/x"); }),
            "cannot read /nowhere/x: No such file or directory");
  EXPECT_EQ(io_error([] { MappedFile("/tmp"); }), "cannot read /tmp: Is a directory");
  EXPECT_EQ(io_error([] { list_directory("/nowhere"); }),
            "cannot list folder /nowhere: No such file or directory");
  EXPECT_NE(io_error([] { write_file_atomic("/nowhere/x", ""); }).find("/nowhere/x"),
            std::string::npos);
  EXPECT_NE(io_error([] { make_directories("/proc/x/y"); }).find("/proc/x/y"), std::string::npos);
}

TEST(File, FoldersAndRename) {
  TemporaryFolder folder;
  std::string deep = folder.path() + "/a/b/c";
  make_directories(deep);
  make_directories(deep);
  EXPECT_TRUE(is_directory(deep));
  write_file_atomic(deep + "/f", "1");
  rename_synced(folder.path() + "/a", folder.path() + "/z");
  EXPECT_TRUE(exists(folder.path() + "/z/b/c/f"));
  EXPECT_FALSE(is_directory(folder.path() + "/z/b/c/f"));
  remove_all(folder.path() + "/z");
  EXPECT_FALSE(exists(folder.path() + "/z"));
  remove_all(folder.path() + "/z");
}

TEST(File, TemporaryFolderGoes) {
  std::string path;
  {
    TemporaryFolder folder;
    path = folder.path();
    write_file_atomic(path + "/x", "1");
  }
  EXPECT_FALSE(exists(path));
}

TEST(File, Paths) {
  EXPECT_EQ(join_path("a", "b"), "a/b");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
  EXPECT_EQ(join_path("", "b"), "b");
  EXPECT_EQ(join_path("a", "/b"), "/b");
  EXPECT_EQ(base_name("/a/b/"), "b");
  EXPECT_EQ(base_name("b"), "b");
  EXPECT_EQ(base_name("/"), "/");
  EXPECT_EQ(parent_path("/a/b/"), "/a");
  EXPECT_EQ(parent_path("/a"), "/");
  EXPECT_EQ(parent_path("a"), "");
  EXPECT_EQ(parent_path("a//b"), "a");
}

}  // namespace
}  // namespace wellspring
