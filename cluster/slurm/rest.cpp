// Slurm by slurmrestd, version 0.0.38 of its interface, with tokens (JWT).

#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/slurm/account.h"
#include "cluster/slurm/transport.h"

namespace wellspring::cluster {
namespace {

constexpr const char* kRestRoot = "/slurm/v0.0.38";

class Rest : public SlurmTransport {
 public:
  explicit Rest(const SlurmOptions& options)
      : options_(options), client_(options.url, {}, limits()) {}

  std::string submit(const SlurmSubmission& s) override {
    const SlurmAccount account = slurm_account(s.user, options_);
    Json jobs = Json::array();
    for (const SlurmComponent& c : s.components) {
      Json j = {{"name", s.name},
                {"comment", s.comment},
                {"current_working_directory", s.folder},
                {"standard_output", s.output},
                {"standard_input", "/dev/null"},
                {"open_mode", "append"},
                {"no_requeue", true},  // "requeue": false is taken and does nothing (22.05)
                {"nodes", {c.nodes, c.nodes}},
                {"tasks", c.nodes * c.tasks_per_node},
                {"tasks_per_node", c.tasks_per_node},
                {"cpus_per_task", c.cpus_per_task},
                {"environment",
                 {{"PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"},
                  {"LANG", "C.UTF-8"},
                  {"HOME", account.home},
                  {"USER", account.name},
                  {"LOGNAME", account.name},
                  {"SHELL", account.shell}}}};
      if (!options_.account.empty()) j["account"] = options_.account;
      if (s.minutes) j["time_limit"] = s.minutes;
      if (s.array) j["array"] = str("0-", s.array - 1);
      if (!c.gres.empty()) j["gres"] = c.gres;
      if (!c.partition.empty()) j["partition"] = c.partition;
      if (c.memory_mb) j["memory_per_node"] = c.memory_mb;
      jobs.push_back(std::move(j));
    }
    Json body = {{"script", s.script}};
    if (jobs.size() == 1)
      body["job"] = std::move(jobs[0]);
    else
      body["jobs"] = std::move(jobs);
    const Json answer = call("POST", "/job/submit", account.name, to_text(body));
    const auto id = answer.find("job_id");
    if (id == answer.end() || !id->is_number_integer() || id->get<int64_t>() <= 0)
      throw Error(Fault::try_again, "slurmrestd did not say the number of the new job");
    return std::to_string(id->get<int64_t>());
  }

  std::vector<SlurmJob> jobs() override { return find(""); }
  std::vector<SlurmJob> find(const std::string& name) override {
    return parse_rest_jobs(text("GET", "/jobs", "", ""), name, max_array());
  }
  std::vector<SlurmNode> nodes() override {
    return parse_rest_nodes(text("GET", "/nodes", "", ""));
  }
  int max_array() override { return options_.max_array ? options_.max_array : 1001; }
  bool signals_tasks() const override { return false; }
  void signal(const std::string&, const std::string&, bool) override {}
  void cancel(const std::string& id, const std::string& user, bool) override {
    try {
      call("DELETE", str("/job/", url_encode(id)), slurm_account(user, options_).name, "");
    } catch (const Error& e) {
      if (e.fault() != Fault::usage) throw;  // it has ended
    }
  }

 private:
  // The user's own token, or that of the user who may speak for all.
  HttpHeaders headers(const std::string& user) const {
    std::string name = user.empty() ? options_.user : user;
    std::string file = options_.token;
    if (!options_.tokens.empty() && name != options_.user) file = join_path(options_.tokens, name);
    try {
      return {{"X-SLURM-USER-NAME", name},
              {"X-SLURM-USER-TOKEN", std::string(trim(read_file(file)))},
              {"Content-Type", "application/json"}};
    } catch (const Error& e) {
      throw Error(Fault::try_again, str("token of ", name, " for slurmrestd: ", e.what()));
    }
  }

  std::string text(const char* method, const std::string& path, const std::string& user,
                   const std::string& body) {
    HttpResult r;
    try {
      r = client_.request(method, kRestRoot + path, body, headers(user));
    } catch (const Error& e) {
      throw Error(Fault::try_again, str("slurmrestd: ", e.what()));
    }
    if (r.status == 401 || r.status == 403)
      throw Error(Fault::try_again,
                  str("slurmrestd refuses the token of ", user.empty() ? options_.user : user,
                      " (status ", r.status, "): make a new one with scontrol token"));
    std::string complaint = complaint_of(r.body);
    if (r.status == 200 && complaint.empty()) return std::move(r.body);
    if (complaint.empty()) complaint = str("status ", r.status);
    // It says "unspecified error" of a bad token, among others.
    const std::string lower = to_lower(complaint);
    const bool unknown = r.status == 200 || slurm_unreachable(lower) ||
                         lower.find("unspecified") != lower.npos || lower.find("status ") == 0 ||
                         lower.find("can not be altered now") != lower.npos;
    throw Error(unknown ? Fault::try_again : Fault::usage, str("slurmrestd: ", complaint));
  }

  Json call(const char* method, const std::string& path, const std::string& user,
            const std::string& body) {
    try {
      return parse_json(text(method, path, user, body), "answer of slurmrestd");
    } catch (const Error& e) {
      if (e.fault() != Fault::data) throw;
      throw Error(Fault::try_again, e.what());
    }
  }

  static std::string complaint_of(const std::string& body) {
    std::vector<std::string> all;
    try {
      const Json answer = parse_json(body, "answer of slurmrestd");
      if (const auto it = answer.find("errors"); it != answer.end() && it->is_array())
        for (const Json& e : *it)
          for (const char* key : {"error", "description"})
            if (e.is_object() && e.contains(key) && e[key].is_string() &&
                !e[key].get<std::string>().empty()) {
              all.push_back(e[key]);
              break;
            }
    } catch (const Error&) {
      return std::string(trim(std::string_view(body).substr(0, 200)));
    }
    return join(all, "; ");
  }

  static HttpClientOptions limits() {
    HttpClientOptions o;
    o.read_timeout = 60;
    o.max_body = 256 << 20;
    return o;
  }

  const SlurmOptions options_;
  HttpClient client_;
};

}  // namespace

std::unique_ptr<SlurmTransport> make_rest_transport(const SlurmOptions& options) {
  return std::make_unique<Rest>(options);
}

}  // namespace wellspring::cluster
