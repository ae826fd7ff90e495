// Which addresses a job's URL may lead to.
#include <gtest/gtest.h>

#include "cluster/controller/notify.h"

namespace wellspring::cluster {
namespace {

TEST(Notify, LeadsNowhereNear) {
  for (const char* near :
       {"127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::", "::1",
        "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "", "localhost", "not an address"})
    EXPECT_FALSE(may_notify(near, {})) << near;
  for (const char* far : {"10.0.0.1", "192.168.1.7", "172.16.0.1", "8.8.8.8", "169.253.1.1", "126.255.255.255",
                          "2001:db8::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"})
    EXPECT_TRUE(may_notify(far, {})) << far;
  EXPECT_TRUE(may_notify("127.0.0.1", {"10.0.0.1", "127.0.0.1"}));
  EXPECT_FALSE(may_notify("127.0.0.2", {"127.0.0.1"}));
}

TEST(Notify, NearHostsAreKnownBeforeTheyAreTold) {
  for (const char* url : {"http://127.0.0.1:8/x", "http://localhost/", "https://[::1]:9/", "http://169.254.169.254"})
    EXPECT_NE(near_host(url, {}), "") << url;
  for (const char* url : {"", "http://10.0.0.1/", "https://example.org/hook", "http://[2001:db8::1]/"})
    EXPECT_EQ(near_host(url, {}), "") << url;
  EXPECT_EQ(near_host("http://localhost:80/", {"127.0.0.1"}), "");
}

}  // namespace
}  // namespace wellspring::cluster
