#pragma once
// Mapped pages that are there no longer, because somebody cut the file or its disk failed. Included
// by base/file.cpp alone; for users: MappedFile::watched and survive_lost_pages in base/file.h.

#include <cstddef>

namespace wellspring {

/// Keeps a mapping in a table that a signal's handler reads, as long as it lives.
class PageGuard {
 public:
  PageGuard() = default;
  /// Nothing when the table is full.
  PageGuard(const void* data, size_t size);
  ~PageGuard();
  PageGuard(PageGuard&& other) noexcept;
  PageGuard& operator=(PageGuard&& other) noexcept;
  /// Whether a page of it was lost: then all of it reads as zeros.
  bool lost() const;

 private:
  int slot_ = -1;
};

}  // namespace wellspring
