#include "cluster/controller/notify.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/http.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

constexpr size_t kNotifyMost = 10'000;  // that wait, of one team
constexpr int kNotifyThreads = 4;

bool open_v4(uint32_t a) {  // host order
  const auto in = [&](uint32_t net, int bits) { return a >> (32 - bits) == net >> (32 - bits); };
  return !(in(0x00000000, 8) || in(0x7F000000, 8) || in(0xA9FE0000, 16) || in(0xE0000000, 3));
}

}  // namespace

bool may_notify(const std::string& address, const std::vector<std::string>& allowed) {
  if (std::ranges::find(allowed, address) != allowed.end()) return true;
  in_addr v4{};
  if (::inet_pton(AF_INET, address.c_str(), &v4) == 1) return open_v4(ntohl(v4.s_addr));
  in6_addr v6{};
  // "fe80::1%eth0" is on a link.
  if (::inet_pton(AF_INET6, address.c_str(), &v6) != 1) return false;
  const uint8_t* b = v6.s6_addr;
  const auto v4_at = [&](int at) {
    return open_v4(static_cast<uint32_t>(b[at]) << 24 | static_cast<uint32_t>(b[at + 1]) << 16 |
                   static_cast<uint32_t>(b[at + 2]) << 8 | b[at + 3]);
  };
  static constexpr uint8_t kNone[12] = {}, kNat[12] = {0, 0x64, 0xFF, 0x9B};
  static constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  for (const auto* prefix : {kNone, kMapped, kNat})  // an IPv4 address in another dress; ::1 and ::
    if (std::memcmp(b, prefix, 12) == 0) return v4_at(12);
  if (b[0] == 0x20 && b[1] == 0x02) return v4_at(2);      // 6to4
  return !((b[0] == 0xFE && b[1] >= 0x80) || b[0] == 0xFF);  // link-local, site-local; multicast
}

std::string near_host(const std::string& url, const std::vector<std::string>& allowed) {
  const size_t begin = url.find("://");
  if (begin == url.npos) return "";
  std::string host = url.substr(begin + 3, url.find_first_of("/?#", begin + 3) - begin - 3);
  host = starts_with(host, "[") ? host.substr(1, host.find(']') - 1) : host.substr(0, host.find(':'));
  in_addr v4{};
  in6_addr v6{};
  if (to_lower(host) == "localhost")
    return may_notify("127.0.0.1", allowed) || may_notify("::1", allowed) ? "" : host;
  const bool number = ::inet_pton(AF_INET, host.c_str(), &v4) == 1 || ::inet_pton(AF_INET6, host.c_str(), &v6) == 1;
  return number && !may_notify(host, allowed) ? host : "";
}

Notifier::Notifier(Options options, std::function<void(JobId, bool)> done)
    : options_(std::move(options)), done_(std::move(done)) {
  for (int i = 0; i < kNotifyThreads; ++i) threads_.emplace_back([this] { work(); });
}

Notifier::~Notifier() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  for (std::thread& t : threads_) t.join();
}

void Notifier::post(JobId job, const std::string& team, const std::string& url, std::string body) {
  std::lock_guard lock(mutex_);
  auto& items = teams_[team].items;
  if (const auto old = std::ranges::find(items, job, &Item::job); old != items.end()) {
    old->body = std::move(body), old->tries = 0;  // it has ended again
    return;
  }
  if (items.size() >= kNotifyMost)
    return log_warning("cluster", "team ", team, " has too many notifications that wait: job ", job, "'s is dropped");
  items.push_back({.job = job, .url = url, .body = std::move(body)});
  wake_.notify_one();
}

void Notifier::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    // Of the teams that have something to send now, the one that waited longest.
    const double now = monotonic_seconds();
    double next = now + 60;
    Team* team = nullptr;
    for (auto& [name, t] : teams_) {
      if (t.busy || t.items.empty()) continue;
      const auto first = std::ranges::min_element(t.items, {}, &Item::next);
      next = std::min(next, first->next);
      if (first->next <= now && (!team || t.served < team->served)) team = &t;
    }
    if (!team) {
      wake_.wait_for(lock, std::chrono::duration<double>(std::max(0.01, next - now)));
      continue;
    }
    const auto at = std::ranges::min_element(team->items, {}, &Item::next);
    Item item = std::move(*at);
    team->items.erase(at);
    team->busy = true, team->served = now;
    lock.unlock();
    const bool taken = send(item);
    ++item.tries;
    const bool over = taken || item.tries >= options_.tries;
    if (over) done_(item.job, taken);
    lock.lock();
    team->busy = false;
    if (!over) {
      double pause = options_.pause;
      for (int i = 1; i < item.tries; ++i) pause *= 4;
      item.next = monotonic_seconds() + pause;
      team->items.push_back(std::move(item));
    }
    wake_.notify_one();
  }
}

bool Notifier::send(const Item& item) const {
  HttpClientOptions o;
  o.connect_timeout = o.read_timeout = options_.timeout;
  o.may_connect = [this](const std::string& address) { return may_notify(address, options_.allowed); };
  try {
    const HttpResult r = http_request(
        "POST", item.url, {{"Content-Type", "application/json"}, {"User-Agent", "wellspring"}}, item.body,
        [](std::string_view) { return false; }, o);  // what it says is of no interest
    if (r.status >= 200 && r.status < 300) return true;
    log_info("cluster", "the notification of job ", item.job, " was answered with ", r.status);
  } catch (const Error& e) {
    log_info("cluster", "the notification of job ", item.job, ": ", e.what());
  }
  return false;
}

}  // namespace wellspring::cluster
