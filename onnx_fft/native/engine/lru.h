// A bounded cache. Knows no threads: its owner locks.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <utility>

namespace onnx_fft {

// Holds at most `most` values; a new one takes the place of that which was not asked for the longest.
template <typename Key, typename Value>
class LruCache {
 public:
  explicit LruCache(size_t most) : most_(most) {}

  // nullptr if there is none; valid until the next insert.
  const Value* find(const Key& key) {
    const auto found = places_.find(key);
    if (found == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &entries_.front().second;
  }

  // `key` must not be held.
  const Value& insert(const Key& key, Value value) {
    entries_.emplace_front(key, std::move(value));
    places_[key] = entries_.begin();
    if (entries_.size() > most_) {
      places_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return entries_.front().second;
  }

 private:
  using Entries = std::list<std::pair<Key, Value>>;

  size_t most_;
  Entries entries_;  // those asked for last come first
  std::map<Key, typename Entries::iterator> places_;
};

}  // namespace onnx_fft
