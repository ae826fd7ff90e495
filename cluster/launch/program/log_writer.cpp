#include "cluster/launch/program/log_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "cluster/launch/tree.h"

namespace wellspring::cluster::launch {

LogWriter::LogWriter(const Identity* identity, std::string folder, std::string name, int64_t limit)
    : identity_(identity),
      folder_(std::move(folder)),
      name_(std::move(name)),
      head_(std::max<int64_t>(limit / 2, 1)),
      quarter_(std::max<int64_t>(limit / 4, 1)) {}

LogWriter::~LogWriter() {
  if (fd_ >= 0) close(fd_);
}

std::string LogWriter::path(int64_t start) const {
  std::string out = folder_ + "/log." + name_;
  if (start > 0) out += ".from" + std::to_string(start);
  return out + ".txt";
}

bool LogWriter::open_segment() {
  AsUser as(*identity_);
  if (fd_ >= 0) close(fd_);
  std::string file = path(total_);
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_APPEND;
  fd_ = open(file.c_str(), flags, 0644);
  if (fd_ < 0 && errno == ENOENT) {
    make_folders(folder_);
    fd_ = open(file.c_str(), flags, 0644);
  }
  if (fd_ < 0 && errno == EEXIST) {  // of an earlier attempt in this folder: not ours to mix with
    unlink(file.c_str());
    if (total_ == 0) {
      std::string prefix = "log." + name_ + ".from";
      if (DIR* dir = opendir(folder_.c_str())) {
        while (dirent* entry = readdir(dir))
          if (std::string_view(entry->d_name).substr(0, prefix.size()) == prefix)
            unlinkat(dirfd(dir), entry->d_name, 0);
        closedir(dir);
      }
    }
    fd_ = open(file.c_str(), flags, 0644);
  }
  if (fd_ < 0) return false;
  room_ = total_ < head_ ? head_ - total_ : quarter_;
  if (total_ == 0) return true;
  kept_.push_back(total_);
  while (kept_.size() > 2) {
    unlink(path(kept_.front()).c_str());
    kept_.erase(kept_.begin());
  }
  return true;
}

void LogWriter::write(std::string_view data) {
  while (!data.empty()) {
    if ((fd_ < 0 || room_ == 0) && !open_segment()) {
      total_ += static_cast<int64_t>(data.size());
      return;
    }
    size_t part = std::min(data.size(), static_cast<size_t>(room_));
    ssize_t n = ::write(fd_, data.data(), part);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      // The next byte that fits begins a segment of its own: a gap in the numbers, not in a file.
      close(fd_);
      fd_ = -1;
      total_ += static_cast<int64_t>(data.size());
      return;
    }
    room_ -= n;
    total_ += n;
    data.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace wellspring::cluster::launch
