#pragma once
// The executor for our own nodes: links that nodes dial, leases, and what is said over them.

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "cluster/controller/core.h"
#include "cluster/controller/executor.h"
#include "cluster/link/link.h"

namespace wellspring::cluster {

/// Seconds without contact. The node ends its attempts after `fence_after`, so that after
/// `lost_after` the controller may start them elsewhere.
struct Leases {
  double fence_after = 240, lost_after = 300;
};

/// The pool of nodes that share the controller's runs root; no node has that name.
inline constexpr const char* kSharedPool = "shared";

class Nodes : public Executor {
 public:
  /// `runs`: the controller's own root of run folders; nodes that see it are of one pool.
  /// `launch_of` gives what an attempt needs, on the core's thread or under Core::read.
  /// `keep_runs`: seconds that a run folder stays when its job is forgotten; 0: for ever.
  Nodes(Core& core, Leases leases, std::string runs, double keep_runs,
        std::function<Launch(const State&, int64_t)> launch_of);
  ~Nodes() override;

  /// Serves the link of a node that has proved its name; returns when it is closed.
  void serve(const std::string& name, std::shared_ptr<HttpDuplex> duplex);
  /// Closes the link of a node that is no member any more.
  void drop(const std::string& name);
  /// Closes all links.
  void stop();

  void start(const Launch& launch) override;
  void go(const Attempt& attempt) override;
  void stop(const Attempt& attempt, const std::string& node, double grace,
            const std::string& reason) override;
  LogText log(const Attempt& attempt, const std::string& user, int rank, int64_t offset,
              int64_t most, double wait) override;
  void tick() override {}
  /// Declares nodes lost whose lease is over. On the core's thread.
  void check_leases(const State& state);

  /// A channel to a node for what `what` says. Error(Fault::io) when it has no link.
  std::shared_ptr<Channel> open(const std::string& node, const Json& what);
  /// A node's answer to a short question. Error(Fault::io) as above, or what the node said.
  Json ask(const std::string& node, const Json& what, double timeout);
  /// Seconds since the last word of a node; < 0: none since the controller began.
  double silence(const std::string& node) const;

 private:
  struct Backlog;
  struct Live {
    std::shared_ptr<Link> link;
    double contact = 0;  // monotonic
    /// Leases given to it that it may count on: when it asked (its clock), until when (ours). It tells
    /// which answer it has seen last; those before that one count no more.
    std::deque<std::pair<double, double>> granted;
    bool ready = false;  // its attempts have been compared with the state
    std::string proof;   // what it has to read in the runs root
    Node hello;
    std::shared_ptr<Backlog> backlog;
  };
  std::shared_ptr<Backlog> backlog_of(const std::string& node);
  std::shared_ptr<Link> link_of(const std::string& node) const;
  /// A connected node that sees the same run folders; else the node itself.
  std::string neighbour(const std::string& node) const;
  double grant(const std::string& name, double asked, double seen);
  void take(const std::string& name, const std::shared_ptr<Link>& link, const Json& message);
  void take_hello(const std::string& name, const std::shared_ptr<Link>& link, const Json& hello);
  void take_attempts(const std::string& name, const std::shared_ptr<Link>& link, const Json& list);
  void take_events(const std::string& name, const std::shared_ptr<Link>& link, const Json& events);
  void take_old_runs(const std::shared_ptr<Link>& link, const Json& names);

  Core& core_;
  const Leases leases_;
  const std::string runs_;
  const double keep_runs_;
  const std::function<Launch(const State&, int64_t)> launch_of_;
  // Monotonic; set by check_leases.
  double born_until_ = 0;                // leases that an earlier controller gave end by then
  std::atomic<double> paused_until_{0};  // leases are longer until then
  mutable std::mutex mutex_;
  std::map<std::string, Live> live_;
};

/// What the node is told to start: the part of `node` of an attempt.
Json launch_message(const Launch& launch, const std::string& node);

}  // namespace wellspring::cluster
