// Asks a controller fast, for bench/cluster.py. Reads one case per line from standard input:
//   submit URL TOKEN CLIENTS JOBS CHIP    submits JOBS jobs over CLIENTS kept connections; seconds
//   page URL TOKEN SECONDS                median seconds of a page of 50 jobs, asked for so long
#include <atomic>
#include <iostream>
#include <sstream>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/http.h"
#include "base/text.h"
#include "bench/timing.h"

namespace wellspring {
namespace {

void must(const HttpResult& r, int status) {
  if (r.status != status) throw Error(Fault::io, str("status ", r.status, ": ", r.body.substr(0, 300)));
}

HttpClient client_of(const std::string& url, const std::string& token) {
  return HttpClient(url, {{"Authorization", "Bearer " + token}, {"Content-Type", "application/json"}});
}

double submit(const std::string& url, const std::string& token, int clients, int jobs, const std::string& chip) {
  std::atomic<int> next{0};
  std::vector<std::thread> threads;
  std::vector<std::string> failures(static_cast<size_t>(clients));
  const double begin = now();
  for (int i = 0; i < clients; ++i)
    threads.emplace_back([&, i] {
      try {
        HttpClient client = client_of(url, token);
        for (int n; (n = next++) < jobs;)
          must(client.request("POST", "/api/v1/jobs",
                              str(R"({"name":"load-)", n, R"(","command":"true","accepted":[{"chip":")", chip, R"("}]})")),
               201);
      } catch (const std::exception& e) {
        failures[static_cast<size_t>(i)] = e.what();
      }
    });
  for (std::thread& t : threads) t.join();
  for (const std::string& failure : failures)
    if (!failure.empty()) throw Error(Fault::io, failure);
  return now() - begin;
}

double page(const std::string& url, const std::string& token, double budget) {
  HttpClient client = client_of(url, token);
  return median_seconds(budget, [&] { must(client.request("GET", "/api/v1/jobs?limit=50"), 200); });
}

}  // namespace
}  // namespace wellspring

int main() {
  using namespace wellspring;
  try {
    return answer_lines(std::cin, std::cout, [](std::istream& words) {
      std::string what, url, token, chip;
      int clients = 0, jobs = 0;
      double budget = 0;
      words >> what >> url >> token;
      if (what == "submit" && words >> clients >> jobs >> chip) return submit(url, token, clients, jobs, chip);
      if (what == "page" && words >> budget) return page(url, token, budget);
      throw Error(Fault::usage, "submit URL TOKEN CLIENTS JOBS CHIP, or page URL TOKEN SECONDS");
    });
  } catch (const std::exception& e) {
    std::cerr << "cluster_bench: " << e.what() << "\n";
    return 1;
  }
}
