#include "base/database.h"

#include <dlfcn.h>

#include <cmath>

#include "base/database_back.h"
#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {

// SQLite would keep NULL instead.
void check_parameters(Database::Parameters parameters) {
  for (const DbValue& value : parameters) {
    auto* number = std::get_if<double>(&value);
    if (number && std::isnan(*number)) throw Error(Fault::data, "a database keeps no NaN");
  }
}

bool is_postgres_url(const std::string& url) {
  return starts_with(url, "postgresql://") || starts_with(url, "postgres://");
}

const char* type_name(const DbValue& value) {
  constexpr const char* kNames[] = {"NULL", "an integer", "a floating number", "text"};
  return kNames[value.index()];
}

const DbValue& value_at(const DbRow& row, size_t column) {
  if (column >= row.values.size()) {
    throw Error(Fault::data,
                str("column ", column, " of a row with ", row.values.size(), " columns"));
  }
  return row.values[column];
}

[[noreturn]] void wrong_type(size_t column, const DbValue& value, const char* wanted) {
  throw Error(Fault::data,
              str("column ", column, " of a row is ", type_name(value), ", not ", wanted));
}

}  // namespace

bool DbRow::is_null(size_t column) const {
  return std::holds_alternative<std::nullptr_t>(value_at(*this, column));
}

int64_t DbRow::integer(size_t column) const {
  const DbValue& value = value_at(*this, column);
  if (auto* v = std::get_if<int64_t>(&value)) return *v;
  wrong_type(column, value, "an integer");
}

double DbRow::number(size_t column) const {
  const DbValue& value = value_at(*this, column);
  if (auto* v = std::get_if<double>(&value)) return *v;
  if (auto* v = std::get_if<int64_t>(&value)) return static_cast<double>(*v);
  wrong_type(column, value, "a number");
}

const std::string& DbRow::text(size_t column) const {
  const DbValue& value = value_at(*this, column);
  if (auto* v = std::get_if<std::string>(&value)) return *v;
  wrong_type(column, value, "text");
}

std::unique_ptr<Database> Database::open(const std::string& url) {
  if (is_postgres_url(url)) return open_postgres(url);
  std::string path = starts_with(url, "sqlite:") ? url.substr(7) : url;
  size_t scheme = path.find("://");
  if (path.empty() || (scheme != std::string::npos && path.find('/') > scheme)) {
    throw Error(Fault::config,
                str("no database '", shown(url),
                    "': write a path, sqlite:PATH or postgresql://user@host:port/name"));
  }
  return open_sqlite(path);
}

std::string Database::shown(const std::string& url) {
  size_t scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  std::string out = url;
  // The last '@' before the path ends what may be a password, so a password with '@' is hidden,
  // too.
  size_t begin = scheme + 3;
  size_t at = out.substr(0, out.find_first_of("/?#", begin)).rfind('@');
  if (at == std::string::npos || at < begin) at = out.rfind('@');
  if (at != std::string::npos && at > begin) {
    size_t colon = out.find(':', begin);
    if (colon < at) out.erase(colon, at - colon);
  }
  for (size_t from = out.find('?'); from != std::string::npos;) {  // ?password=...
    size_t key = from + 1;
    from = out.find('&', key);
    std::string_view pair =
        std::string_view(out).substr(key, from == std::string::npos ? from : from - key);
    if (size_t equals = pair.find('=');
        equals != std::string_view::npos &&
        pair.substr(0, equals).find("pass") != std::string_view::npos) {
      out.replace(key + equals + 1, pair.size() - equals - 1, "***");
      from = out.find('&', key);
    }
  }
  return out;
}

DatabaseLibrary::DatabaseLibrary(const char* file, const char* package)
    : file_(file), package_(package), handle_(::dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
  if (handle_) return;
  const char* reason = ::dlerror();
  throw Error(Fault::missing, str("cannot load ", file, ": ", reason ? reason : "unknown reason",
                                  "; install the package ", package));
}

void* DatabaseLibrary::find_address(const char* name) const {
  if (void* address = ::dlsym(handle_, name)) return address;
  throw Error(Fault::missing,
              str(file_, " has no ", name, ": it is too old; install a newer package ", package_));
}

Database::~Database() = default;

template <class F>
void Database::guarded(F&& f) {
  WS_CHECK(!busy_, "a Database used inside its own each()");
  if (failure_) std::rethrow_exception(failure_);
  try {
    f();
  } catch (...) {
    if (open_) failure_ = std::current_exception();
    throw;
  }
}

void Database::run(std::string_view sql, Parameters parameters) {
  guarded([&] {
    check_parameters(parameters);
    do_run(sql, parameters);
  });
}

std::vector<DbRow> Database::query(std::string_view sql, Parameters parameters) {
  std::vector<DbRow> rows;
  each(sql, parameters, [&](DbRow& row) { rows.push_back(std::move(row)); });
  return rows;
}

void Database::each(std::string_view sql, Parameters parameters,
                    const std::function<void(DbRow&)>& row) {
  guarded([&] {
    struct Busy {
      bool& flag;
      explicit Busy(bool& f) : flag(f) { flag = true; }
      ~Busy() { flag = false; }
    } busy(busy_);
    check_parameters(parameters);
    do_each(sql, parameters, row);
  });
}

void Database::begin(bool only_reads) {
  WS_CHECK(!open_, "begin() inside a transaction");
  guarded([&] { do_begin(only_reads); });
  open_ = true;
}

void Database::commit() {
  WS_CHECK(open_, "commit() outside a transaction");
  try {
    guarded([&] { do_commit(); });
  } catch (...) {
    rollback();
    throw;
  }
  open_ = false;
}

void Database::rollback() noexcept {
  if (!open_) return;
  do_rollback();
  open_ = false;
  failure_ = nullptr;
}

}  // namespace wellspring
