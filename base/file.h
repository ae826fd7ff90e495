#pragma once
// Files: mapped reading, atomic writing. Every failure is Error(Fault::io) that names the path and
// the system's reason (Fault::data where the content is at fault).

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace wellspring {

/// Whole file as bytes.
std::string read_file(const std::string& path);

/// Writes to `path.tmp.PID`, syncs file and folder, renames: a reader sees the old or the new whole
/// file, never a part. On failure (a full disk) the old file stays and the temporary one is
/// removed.
void write_file_atomic(const std::string& path, std::string_view content);

/// Incremental form of write_file_atomic for big files; without commit() nothing appears.
class AtomicWriter {
 public:
  explicit AtomicWriter(const std::string& path);
  ~AtomicWriter();
  AtomicWriter(const AtomicWriter&) = delete;
  AtomicWriter& operator=(const AtomicWriter&) = delete;
  void write(const void* data, size_t size);
  void commit();

 private:
  std::string path_, temporary_;
  int fd_ = -1;
  std::string buffer_;
};

/// Appends one line (adds the newline) with one write(2) call, for logs read while they grow.
void append_line(const std::string& path, std::string_view line);

/// A read-only mapping of a whole file, shared by copies. An empty file maps to an empty view.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::string& path);
  /// One whose changed() tells; it keeps a descriptor.
  static MappedFile watched(const std::string& path);
  const char* data() const;
  size_t size() const;
  std::string_view view() const { return {data(), size()}; }
  const std::string& path() const;
  /// Has all of it brought to memory meanwhile, from the first byte to the last and in huge pages
  /// where the system can: for a file that is read whole, again and again. Returns at once.
  void fetch() const;
  /// Whether somebody has written to the file or cut it since it was mapped, or a page could not be
  /// read. A file that took its place by a rename is another one: the mapped one is as it was.
  /// Costs a microsecond; thread-safe.
  bool changed() const;
  /// Error(Fault::io) with the file's name when it changed().
  void check_unchanged() const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;
};

/// From here on a page of a watched file that is there no longer (the file was cut) reads as zeros,
/// with all others of that mapping, instead of ending the process by SIGBUS: what was made of it
/// counts only when the file has not changed() after that. For servers.
void survive_lost_pages();

/// Error(Fault::io) when the folder that it would lie in may not be searched.
bool exists(const std::string& path);
bool is_directory(const std::string& path);
int64_t file_size(const std::string& path);
/// Seconds since it was written to.
double file_age(const std::string& path);
void make_directories(const std::string& path);
void remove_all(const std::string& path);
/// Renames within one file system and syncs the parent folder.
void rename_synced(const std::string& from, const std::string& to);
/// Names (not paths) in a folder, sorted bytewise; without "." and "..".
std::vector<std::string> list_directory(const std::string& path);
std::string join_path(std::string_view folder, std::string_view name);
std::string base_name(std::string_view path);
std::string parent_path(std::string_view path);

/// A fresh folder under $TMPDIR, removed with all it holds when the object dies.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace wellspring
