#pragma once
// The part of libpq that database_postgres.cpp uses, declared here so that building needs no header
// of PostgreSQL, and loaded on first use. Names and values are those of libpq's public interface.

#include "base/database_back.h"

namespace wellspring::pq {

struct Connection;
struct Result;
using Oid = unsigned int;

constexpr int kConnectionOk = 0;  // PQstatus

enum Status {  // PQresultStatus
  kEmptyQuery = 0,
  kCommandOk = 1,
  kTuplesOk = 2,
  kBadResponse = 5,
  kFatalError = 7,
  kSingleTuple = 9,
  kPipelineSync = 10,
  kPipelineAborted = 11
};

constexpr int kSqlState = 'C', kSeverity = 'V', kPrimaryMessage = 'M', kDetail = 'D';

// Types of columns and parameters.
constexpr Oid kBool = 16, kBytea = 17, kInt8 = 20, kInt2 = 21, kInt4 = 23, kText = 25, kOid = 26,
              kFloat4 = 700, kFloat8 = 701, kVarchar = 1043, kNumeric = 1700;

/// The functions. Made once by library(), which throws Error(Fault::missing) without libpq.
struct Library {
  DatabaseLibrary file{"libpq.so.5", "libpq5"};
#define WS_FUNCTION(name, result, ...) \
  result (*name)(__VA_ARGS__) = file.find<result (*)(__VA_ARGS__)>("PQ" #name)
  WS_FUNCTION(connectdbParams, Connection*, const char* const*, const char* const*, int);
  WS_FUNCTION(finish, void, Connection*);
  WS_FUNCTION(status, int, const Connection*);
  WS_FUNCTION(errorMessage, char*, const Connection*);
  WS_FUNCTION(socket, int, const Connection*);
  WS_FUNCTION(backendPID, int, const Connection*);
  WS_FUNCTION(connectionNeedsPassword, int, const Connection*);
  WS_FUNCTION(consumeInput, int, Connection*);
  WS_FUNCTION(isBusy, int, Connection*);
  WS_FUNCTION(setnonblocking, int, Connection*, int);
  WS_FUNCTION(flush, int, Connection*);
  WS_FUNCTION(setNoticeProcessor, void*, Connection*, void (*)(void*, const char*), void*);
  WS_FUNCTION(enterPipelineMode, int, Connection*);
  WS_FUNCTION(pipelineSync, int, Connection*);
  WS_FUNCTION(sendPrepare, int, Connection*, const char*, const char*, int, const Oid*);
  WS_FUNCTION(sendDescribePrepared, int, Connection*, const char*);
  WS_FUNCTION(sendQueryPrepared, int, Connection*, const char*, int, const char* const*, const int*,
              const int*, int);
  WS_FUNCTION(sendQueryParams, int, Connection*, const char*, int, const Oid*, const char* const*,
              const int*, const int*, int);
  WS_FUNCTION(setSingleRowMode, int, Connection*);
  WS_FUNCTION(getResult, Result*, Connection*);
  WS_FUNCTION(clear, void, Result*);
  WS_FUNCTION(resultStatus, int, const Result*);
  WS_FUNCTION(resultErrorField, char*, const Result*, int);
  WS_FUNCTION(resultErrorMessage, char*, const Result*);
  WS_FUNCTION(cmdStatus, char*, Result*);
  WS_FUNCTION(ntuples, int, const Result*);
  WS_FUNCTION(nfields, int, const Result*);
  WS_FUNCTION(ftype, Oid, const Result*, int);
  WS_FUNCTION(getvalue, char*, const Result*, int, int);
  WS_FUNCTION(getlength, int, const Result*, int, int);
  WS_FUNCTION(getisnull, int, const Result*, int, int);
  WS_FUNCTION(nparams, int, const Result*);
  WS_FUNCTION(paramtype, Oid, const Result*, int);
#undef WS_FUNCTION
};

const Library& library();

}  // namespace wellspring::pq
