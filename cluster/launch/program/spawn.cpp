#include "cluster/launch/program/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace wellspring::cluster::launch {
namespace {

/// What the child works with; it shares our memory until it executes, while we wait.
struct Child {
  const SpawnRequest* request;
  std::vector<char*> argv, env;
  std::vector<std::string> candidates;  // the program, by each folder of PATH
  cpu_set_t* cores = nullptr;
  size_t cores_size = 0;
  const char* step = nullptr;  // what failed
  int error = 0;
};

int failed(Child* c, const char* step) {
  c->step = step;
  c->error = errno;
  return 127;
}

/// Runs in the child: plain system calls alone (glibc's own would tell all threads, or allocate).
int become(void* pointer) {
  Child* c = static_cast<Child*>(pointer);
  const SpawnRequest& r = *c->request;
  if (setsid() < 0) return failed(c, "setsid");
  for (int fd : r.cgroup1_procs)
    if (write(fd, "0", 1) != 1) return failed(c, "entering a cgroup");
  if (r.cgroup2_procs >= 0 && write(r.cgroup2_procs, "0", 1) != 1)
    return failed(c, "entering the cgroup");
  if (r.reset_oom_score) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "0", 1) != 1) return failed(c, "oom_score_adj");
  }
  if (c->cores != nullptr && syscall(SYS_sched_setaffinity, 0, c->cores_size, c->cores) != 0)
    return failed(c, "cores");
  if (r.identity->uid >= 0) {
    const Identity& i = *r.identity;
    if (syscall(SYS_setgroups, i.groups.size(), i.groups.data()) != 0 ||
        syscall(SYS_setresgid, i.gid, i.gid, i.gid) != 0 ||
        syscall(SYS_setresuid, i.uid, i.uid, i.uid) != 0)
      return failed(c, "switching to the user");
  }
  // dup2 onto itself would leave the descriptor closing at exec; ours are never 0, 1 or 2.
  if (dup2(r.input, 0) < 0 || dup2(r.output, 1) < 0 ||
      dup2(r.error >= 0 ? r.error : r.output, 2) < 0)
    return failed(c, "standard streams");
  if (r.terminal && ioctl(0, TIOCSCTTY, 0) != 0) return failed(c, "the terminal");
  if (chdir(r.folder->c_str()) != 0) return failed(c, r.folder->c_str());
  struct sigaction plain;
  memset(&plain, 0, sizeof plain);
  for (int s : {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD}) sigaction(s, &plain, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  int reason = ENOENT;
  const char* program = c->argv[0];
  for (const std::string& candidate : c->candidates) {
    execve(candidate.c_str(), c->argv.data(), c->env.data());
    // A program that is there but may not be run is the better reason than one that is not there.
    if (errno != ENOENT && errno != ENOTDIR) {
      reason = errno;
      program = candidate.c_str();
    }
  }
  errno = reason;
  return failed(c, program);
}

#if defined(__x86_64__) && defined(SYS_clone3)
constexpr bool have_clone = true;
/// clone3 with shared memory needs a stack of its own, and no C function can return from it twice.
long clone_child(clone_args* args, Child* child) {
  long result;
  register int (*fn)(void*) asm("r12") = become;
  register void* arg asm("r13") = child;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r13, %%rdi\n\t"
      "call *%%r12\n\t"
      "mov %%eax, %%edi\n\t"
      "mov $60, %%eax\n\t"  // exit
      "syscall\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "0"(static_cast<long>(SYS_clone3)), "D"(args), "S"(sizeof *args), "r"(fn), "r"(arg)
      : "rcx", "r11", "memory");
  return result;
}
#else
constexpr bool have_clone = false;
long clone_child(clone_args*, Child*) { return -ENOSYS; }
#endif

alignas(64) char child_stack[64 << 10];

pid_t start_child(SpawnRequest* request, Child* child) {
  if (have_clone && request->cgroup2 >= 0) {
    clone_args args;
    memset(&args, 0, sizeof args);
    args.flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP;
    args.exit_signal = SIGCHLD;
    args.stack = reinterpret_cast<uint64_t>(child_stack);
    args.stack_size = sizeof child_stack;
    args.cgroup = static_cast<uint64_t>(request->cgroup2);
    int procs = request->cgroup2_procs;
    request->cgroup2_procs = -1;
    long pid = clone_child(&args, child);
    // Old kernels, and containers that hide the call: the child enters by itself.
    if (pid != -ENOSYS && pid != -EPERM && pid != -EINVAL) {
      if (pid < 0) errno = static_cast<int>(-pid);
      return pid < 0 ? -1 : static_cast<pid_t>(pid);
    }
    request->cgroup2_procs = procs;
  }
  pid_t pid = vfork();
  if (pid == 0) _exit(become(child));
  return pid;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const std::string& t : texts) out.push_back(const_cast<char*>(t.c_str()));
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> places(const std::string& program, const std::vector<std::string>& env) {
  std::vector<std::string> out;
  if (program.find('/') != std::string::npos) return {program};
  std::string path = "/usr/local/bin:/usr/bin:/bin";
  for (const std::string& v : env)
    if (v.compare(0, 5, "PATH=") == 0) path = v.substr(5);
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = path.find(':', begin);
    if (end == std::string::npos) end = path.size();
    if (end > begin) out.push_back(path.substr(begin, end - begin) + "/" + program);
    begin = end + 1;
  }
  return out;
}

}  // namespace

pid_t spawn(const SpawnRequest& given, std::string* error, int* status) {
  SpawnRequest request = given;
  Child child;
  child.request = &request;
  child.argv = pointers(*request.argv);
  child.env = pointers(*request.env);
  child.candidates = places(request.argv->front(), *request.env);
  if (!request.cores->empty()) {
    int highest = 0;
    for (int core : *request.cores) highest = core > highest ? core : highest;
    child.cores = CPU_ALLOC(static_cast<size_t>(highest) + 1);
    child.cores_size = CPU_ALLOC_SIZE(static_cast<size_t>(highest) + 1);
    CPU_ZERO_S(child.cores_size, child.cores);
    for (int core : *request.cores)
      CPU_SET_S(static_cast<size_t>(core), child.cores_size, child.cores);
  }
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t pid = start_child(&request, &child);
  int reason = errno;
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (child.cores != nullptr) CPU_FREE(child.cores);
  if (pid < 0) {
    *error = std::string("cannot start a process: ") + strerror(reason);
    *status = 126;
    return -1;
  }
  if (child.step == nullptr) return pid;
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  *error = std::string(child.step) + ": " + strerror(child.error);
  *status = child.error == ENOENT ? 127 : 126;
  return -1;
}

}  // namespace wellspring::cluster::launch
