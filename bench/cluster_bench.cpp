// Asks a controller fast, for bench/cluster.py. Reads one case per line from standard input:
//   submit URL TOKEN CLIENTS JOBS CHIP    submits JOBS jobs over CLIENTS kept connections; seconds
//   page URL TOKEN TIMES                  median seconds of a page of 50 jobs
#include <atomic>
#include <chrono>
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
  const auto begin = std::chrono::steady_clock::now();
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
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double page(const std::string& url, const std::string& token, int times) {
  HttpClient client = client_of(url, token);
  std::vector<double> seconds;
  for (int i = 0; i < times; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    must(client.request("GET", "/api/v1/jobs?limit=50"), 200);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return median(std::move(seconds));
}

}  // namespace
}  // namespace wellspring

int main() {
  using namespace wellspring;
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string what, url, token, chip;
    int clients = 0, count = 0;
    words >> what >> url >> token;
    try {
      if (what == "submit" && words >> clients >> count >> chip)
        std::cout << submit(url, token, clients, count, chip) << std::endl;
      else if (what == "page" && words >> count)
        std::cout << page(url, token, count) << std::endl;
      else
        throw Error(Fault::usage, str("what is '", line.substr(0, 20), "'?"));
    } catch (const std::exception& e) {
      std::cerr << "cluster_bench: " << e.what() << "\n";
      return 1;
    }
  }
  return 0;
}
