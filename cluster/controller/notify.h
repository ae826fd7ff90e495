#pragma once
// Tells a job's `notify` URL that it has ended: a POST with the job's state as JSON.

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cluster/state/entities.h"

namespace wellspring::cluster {

/// Whether a URL of a job may lead to an address ("127.0.0.1", "fe80::1"): not to the machine itself,
/// nor to what is on its link alone (where clouds keep their credentials). `allowed`: addresses that
/// the administrator lets through all the same.
bool may_notify(const std::string& address, const std::vector<std::string>& allowed);

/// The host of a URL where it is an address (or localhost) that may not be told; else "": what a name
/// means is known when it is told.
std::string near_host(const std::string& url, const std::vector<std::string>& allowed);

/// Sends by threads of its own, for each team one at a time, so that no team's URL keeps another's
/// waiting. Answers 2xx; others, redirections among them, and failures are tried again.
class Notifier {
 public:
  struct Options {
    std::vector<std::string> allowed;  // addresses, see may_notify
    double timeout = 5;                // seconds for each part of an exchange
    int tries = 5;
    double pause = 1;  // seconds before the second try; four times as long each time
  };
  /// `done` is called on the notifier's threads when it was taken, or given up.
  Notifier(Options options, std::function<void(JobId, bool taken)> done);
  /// What waits is dropped.
  ~Notifier();
  /// Never waits. Of a job that waits already the new body counts.
  void post(JobId job, const std::string& team, const std::string& url, std::string body);

 private:
  struct Item {
    JobId job = 0;
    std::string url, body;
    int tries = 0;
    double next = 0;  // monotonic
  };
  void work();
  bool send(const Item& item) const;

  const Options options_;
  const std::function<void(JobId, bool)> done_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  struct Team {
    std::deque<Item> items;
    bool busy = false;
    double served = 0;  // when one of its items was last taken up
  };
  std::map<std::string, Team> teams_;
  std::vector<std::thread> threads_;
};

}  // namespace wellspring::cluster
