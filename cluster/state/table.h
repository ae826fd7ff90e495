#pragma once
// A table of rows in memory that remembers what it was, so that a command that fails, or a batch
// that does not reach the disk, leaves no trace.

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace wellspring::cluster {

/// Rows by key. Only the thread that owns the state changes it, by edit, add and remove; what is
/// changed is undone (undo_command, undo_batch) or kept (keep_command, then keep_batch).
template <class Key, class Row>
class RowTable {
 public:
  const std::map<Key, Row>& rows() const { return rows_; }
  size_t size() const { return rows_.size(); }
  const Row* find(const Key& key) const {
    const auto it = rows_.find(key);
    return it == rows_.end() ? nullptr : &it->second;
  }
  const Row& at(const Key& key) const { return rows_.at(key); }

  /// The row to be changed; it has to be there.
  Row& edit(const Key& key) {
    Row& row = rows_.at(key);
    command_.try_emplace(key, row);
    return row;
  }
  /// A new row, or the old one replaced.
  Row& put(const Key& key, Row row) {
    remember(key);
    return rows_.insert_or_assign(key, std::move(row)).first->second;
  }
  void remove(const Key& key) {
    if (!rows_.contains(key)) return;
    remember(key);
    rows_.erase(key);
  }

  /// Takes back what changed since the last keep_command.
  void undo_command() { undo(command_); }
  void undo_batch() {
    undo(command_);
    undo(batch_);
  }
  /// `changed(key, before or null, now or null)` is called for each row of the command.
  template <class F>
  void keep_command(F&& changed) {
    for (auto& [key, before] : command_) {
      changed(key, before ? &*before : nullptr, find(key));
      batch_.try_emplace(key, std::move(before));
    }
    command_.clear();
  }
  /// Keys that the batch has changed, with the rows that are there now (null: removed).
  template <class F>
  void each_changed(F&& f) const {
    for (const auto& [key, before] : batch_) f(key, find(key));
  }
  /// Rows as they were before the batch (null: not there), with those that are there now.
  template <class F>
  void each_before(F&& f) const {
    for (const auto& [key, before] : batch_) f(key, before ? &*before : nullptr, find(key));
  }
  void keep_batch() { batch_.clear(); }

  /// At load: no trace is kept.
  void load(Key key, Row row) { rows_.insert_or_assign(std::move(key), std::move(row)); }

 private:
  using Before = std::map<Key, std::optional<Row>>;
  void remember(const Key& key) {
    const auto it = rows_.find(key);
    command_.try_emplace(key, it == rows_.end() ? std::nullopt : std::optional<Row>(it->second));
  }
  void undo(Before& from) {
    for (auto& [key, before] : from) {
      if (before)
        rows_.insert_or_assign(key, std::move(*before));
      else
        rows_.erase(key);
    }
    from.clear();
  }

  std::map<Key, Row> rows_;
  Before command_, batch_;
};

}  // namespace wellspring::cluster
