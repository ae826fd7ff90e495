#include "tensor/allocator.h"

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr size_t kRound = 256;
constexpr size_t kSegment = size_t{32} << 20;
constexpr size_t kBigPage = size_t{2} << 20;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// One device's memory. Blocks tile their segment; neighbours are found by address.
class Pool {
 public:
  explicit Pool(Device device) : device_(device) {}

  void* allocate(size_t bytes) {
    std::lock_guard lock(mutex_);
    size_t size = round_up(bytes, kRound);
    auto it = free_.lower_bound({size, nullptr});
    if (it == free_.end()) {
      add_segment(size);
      it = free_.lower_bound({size, nullptr});
    }
    char* data = it->second;
    Block& block = blocks_.find(data)->second;
    free_.erase(it);
    if (block.size - size >= kRound) {
      char* rest = data + size;
      blocks_.emplace(rest, Block{block.size - size, block.segment, true});
      free_.insert({block.size - size, rest});
      block.size = size;
    }
    block.is_free = false;
    figures_.in_use += size;
    if (figures_.in_use > figures_.peak) figures_.peak = figures_.in_use;
    return data;
  }

  void free(void* data) {
    std::lock_guard lock(mutex_);
    auto it = blocks_.find(static_cast<char*>(data));
    WS_CHECK(it != blocks_.end() && !it->second.is_free, "memory freed twice or never allocated");
    figures_.in_use -= it->second.size;
    it->second.is_free = true;
    auto next = std::next(it);
    if (next != blocks_.end() && joins(it, next)) merge(it, next);
    if (it != blocks_.begin()) {
      auto before = std::prev(it);
      if (joins(before, it)) {
        free_.erase({before->second.size, before->first});
        before->second.size += it->second.size;
        blocks_.erase(it);
        it = before;
      }
    }
    free_.insert({it->second.size, it->first});
  }

  MemoryFigures figures() {
    std::lock_guard lock(mutex_);
    return figures_;
  }
  void reset_peak() {
    std::lock_guard lock(mutex_);
    figures_.peak = figures_.in_use;
  }
  void empty_cache() {
    std::lock_guard lock(mutex_);
    give_back();
  }

 private:
  struct Block {
    size_t size;
    char* segment;
    bool is_free;
  };
  using Blocks = std::map<char*, Block>;

  static bool joins(Blocks::iterator a, Blocks::iterator b) {
    return a->second.is_free && b->second.is_free && a->second.segment == b->second.segment;
  }
  void merge(Blocks::iterator a, Blocks::iterator b) {
    free_.erase({b->second.size, b->first});
    a->second.size += b->second.size;
    blocks_.erase(b);
  }
  // A small request opens a segment for many; a big one gets its own size, so little is left over.
  void add_segment(size_t size) {
    size_t bytes = size >= kSegment / 2 ? round_up(size, kBigPage) : kSegment;
    const Chip& chip = chips()[device_.chip];
    char* data;
    try {
      data = static_cast<char*>(chip.allocate(device_.index, bytes));
    } catch (const Error&) {
      give_back();
      try {
        data = static_cast<char*>(chip.allocate(device_.index, bytes));
      } catch (const Error& e) {
        throw Error(Fault::missing, str("out of memory on ", device_name(device_), ": asked for ",
                                        human_bytes(size), " with ", human_bytes(figures_.in_use),
                                        " in use (", e.what(), ")"));
      }
    }
    figures_.reserved += bytes;
    blocks_.emplace(data, Block{bytes, data, true});
    free_.insert({bytes, data});
    segments_[data] = bytes;
  }
  void give_back() {
    for (auto it = segments_.begin(); it != segments_.end();) {
      auto [data, bytes] = *it;
      Block& block = blocks_.find(data)->second;
      if (block.is_free && block.size == bytes) {
        free_.erase({bytes, data});
        blocks_.erase(data);
        chips()[device_.chip].free(device_.index, data, bytes);
        figures_.reserved -= bytes;
        it = segments_.erase(it);
      } else {
        ++it;
      }
    }
  }

  Device device_;
  std::mutex mutex_;
  Blocks blocks_;
  std::set<std::pair<size_t, char*>> free_;
  std::unordered_map<char*, size_t> segments_;
  MemoryFigures figures_;
};

// Never destroyed: tensors of static lifetime may be freed after main.
Pool& pool(Device device) {
  static auto& pools = *new std::unordered_map<int, std::unique_ptr<Pool>>;
  static auto& mutex = *new std::mutex;
  static Pool& cpu = *new Pool(Device{});
  if (device.is_cpu() && device.index == 0) return cpu;
  std::lock_guard lock(mutex);
  auto& p = pools[device.chip * 256 + device.index];
  if (!p) p = std::make_unique<Pool>(device);
  return *p;
}

}  // namespace

void* allocate_memory(Device device, size_t bytes) {
  return bytes ? pool(device).allocate(bytes) : nullptr;
}
void free_memory(Device device, void* data) {
  if (data) pool(device).free(data);
}
MemoryFigures memory_figures(Device device) { return pool(device).figures(); }
void reset_peak_memory(Device device) { pool(device).reset_peak(); }
void empty_cache(Device device) { pool(device).empty_cache(); }

}  // namespace wellspring
