#include "virtual_tpu/meeting_point.h"

#include <atomic>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed::virtual_tpu {
namespace {

// One replica: a number that the meeting replaces by the sum.
struct Member {
  int value = 0;
  int called = 0;
  Status status;
};

Status Sum(const std::vector<void*>& payloads) {
  int sum = 0;
  for (void* p : payloads) sum += static_cast<Member*>(p)->value;
  for (void* p : payloads) static_cast<Member*>(p)->value = sum;
  return OkStatus();
}

int64_t Arrive(MeetingPoint& meetings, const std::string& key, int position,
               int size, Member& member, const MeetingPoint::Work& work = Sum) {
  const int64_t ticket = meetings.NewTicket();
  std::vector<int> group(size);
  std::iota(group.begin(), group.end(), 0);
  meetings.Arrive(ticket, key, group, position, &member, work,
                  [&member](const Status& status) {
                    ++member.called;
                    member.status = status;
                  });
  return ticket;
}

TEST(MeetingPointTest, LastArrival_CallsEverybodyBack) {
  MeetingPoint meetings;
  Member a{1}, b{2}, c{4};
  Arrive(meetings, "k", 2, 3, c);
  Arrive(meetings, "k", 0, 3, a);
  EXPECT_EQ(a.called + c.called, 0);
  EXPECT_EQ(meetings.num_waiting(), 2);
  Arrive(meetings, "k", 1, 3, b);
  for (const Member* m : {&a, &b, &c}) {
    EXPECT_EQ(m->called, 1);
    EXPECT_TRUE(m->status.ok());
    EXPECT_EQ(m->value, 7);
  }
  EXPECT_EQ(meetings.num_waiting(), 0);
}

TEST(MeetingPointTest, Payloads_AreInTheOrderOfPositions) {
  MeetingPoint meetings;
  Member a, b;
  std::vector<void*> seen;
  const auto note = [&](const std::vector<void*>& payloads) {
    seen = payloads;
    return OkStatus();
  };
  Arrive(meetings, "k", 1, 2, b, note);
  Arrive(meetings, "k", 0, 2, a, note);
  EXPECT_EQ(seen, (std::vector<void*>{&a, &b}));
}

TEST(MeetingPointTest, EarlyMember_StartsTheNextRound) {
  MeetingPoint meetings;
  Member first{1}, second{10}, other{2}, other_second{20};
  Arrive(meetings, "k", 0, 2, first);
  Arrive(meetings, "k", 0, 2, second);
  Arrive(meetings, "k", 1, 2, other);
  EXPECT_EQ(first.value, 3);
  EXPECT_EQ(second.called, 0);
  Arrive(meetings, "k", 1, 2, other_second);
  EXPECT_EQ(second.value, 30);
}

TEST(MeetingPointTest, Keys_DoNotMeet) {
  MeetingPoint meetings;
  Member a, b;
  const int64_t x = Arrive(meetings, "x", 0, 2, a);
  const int64_t y = Arrive(meetings, "y", 1, 2, b);
  EXPECT_EQ(meetings.num_waiting(), 2);
  meetings.Cancel(x);
  meetings.Cancel(y);
}

TEST(MeetingPointTest, GroupsThatDiffer_AreAnErrorForAllThatAreThere) {
  const std::vector<std::vector<int>> others = {{0, 1}, {1, 0, 2}, {1, 2}, {2}};
  for (const std::vector<int>& other : others) {
    MeetingPoint meetings;
    Member a, b;
    const auto arrive = [&](const std::vector<int>& group, int position,
                            Member& member) {
      meetings.Arrive(meetings.NewTicket(), "k", group, position, &member, Sum,
                      [&member](const Status& status) {
                        ++member.called;
                        member.status = status;
                      });
    };
    arrive({0, 1, 2}, 0, a);
    arrive(other, static_cast<int>(other.size()) - 1, b);
    for (const Member* m : {&a, &b}) {
      EXPECT_EQ(m->called, 1);
      EXPECT_EQ(m->status.code(), StatusCode::kInvalidArgument);
      EXPECT_NE(m->status.message().find("one is in [0, 1, 2], another in ["),
                std::string::npos);
    }
    EXPECT_EQ(meetings.num_waiting(), 0);
  }
}

TEST(MeetingPointTest, GroupsThatAreApart_ShareAKey) {
  MeetingPoint meetings;
  Member members[4] = {{1}, {2}, {4}, {8}};
  const std::vector<int> even = {0, 2}, odd = {1, 3};
  for (int i = 0; i < 4; ++i) {
    meetings.Arrive(meetings.NewTicket(), "k", i % 2 == 0 ? even : odd, i / 2,
                    &members[i], Sum, [](const Status&) {});
  }
  EXPECT_EQ(members[0].value, 5);
  EXPECT_EQ(members[3].value, 10);
}

TEST(MeetingPointTest, ErrorOfTheWork_ReachesEverybody) {
  MeetingPoint meetings;
  Member a, b;
  const auto fail = [](const std::vector<void*>&) {
    return InvalidArgument("shapes differ");
  };
  Arrive(meetings, "k", 0, 2, a, fail);
  Arrive(meetings, "k", 1, 2, b, fail);
  EXPECT_EQ(a.status.message(), "shapes differ");
  EXPECT_EQ(b.status.message(), "shapes differ");
}

TEST(MeetingPointTest, Cancel_EndsTheWaitOfOne) {
  MeetingPoint meetings;
  Member a{1}, again{5}, b{2};
  const int64_t ticket = Arrive(meetings, "k", 0, 2, a);
  meetings.Cancel(ticket);
  EXPECT_EQ(a.called, 1);
  EXPECT_EQ(a.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(meetings.num_waiting(), 0);
  meetings.Cancel(ticket);  // over: nothing
  EXPECT_EQ(a.called, 1);
  // The next step of the same program starts afresh.
  Arrive(meetings, "k", 1, 2, b);
  Arrive(meetings, "k", 0, 2, again);
  EXPECT_EQ(b.value, 7);
}

TEST(MeetingPointTest, Cancel_BeforeTheArrivalIsNotLost) {
  MeetingPoint meetings;
  Member a;
  const int64_t ticket = meetings.NewTicket();
  meetings.Cancel(ticket);
  meetings.Arrive(ticket, "k", {0, 1}, 0, &a, Sum, [&](const Status& status) {
    ++a.called;
    a.status = status;
  });
  EXPECT_EQ(a.called, 1);
  EXPECT_EQ(a.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(meetings.num_waiting(), 0);
}

TEST(MeetingPointTest, Cancel_AfterTheMeetingIsNothing) {
  MeetingPoint meetings;
  Member a, b;
  const int64_t ticket = Arrive(meetings, "k", 0, 2, a);
  Arrive(meetings, "k", 1, 2, b);
  meetings.Cancel(ticket);
  EXPECT_EQ(a.called, 1);
  EXPECT_TRUE(a.status.ok());
}

// Replicas in threads of their own, each with its rounds in order, some of
// which are cancelled while they wait: everybody is called exactly once.
TEST(MeetingPointTest, Threads_EveryArrivalIsCalledBackOnce) {
  constexpr int kReplicas = 4;
  constexpr int kRounds = 2000;
  const std::vector<int> group = {0, 1, 2, 3};
  MeetingPoint meetings;
  std::atomic<int> met{0}, cancelled{0};
  std::vector<std::thread> replicas;
  for (int r = 0; r < kReplicas; ++r) {
    replicas.emplace_back([&, r] {
      for (int i = 0; i < kRounds; ++i) {
        const int64_t ticket = meetings.NewTicket();
        meetings.Arrive(
            ticket, StrCat("k", i), group, r, nullptr,
            [](const std::vector<void*>&) { return OkStatus(); },
            [&](const Status& status) { ++(status.ok() ? met : cancelled); });
        if (r == 0 && i % 7 == 0) meetings.Cancel(ticket);
      }
    });
  }
  for (std::thread& replica : replicas) replica.join();
  EXPECT_EQ(met + cancelled + meetings.num_waiting(), kReplicas * kRounds);
  EXPECT_EQ(met % kReplicas, 0);
  EXPECT_EQ(meetings.num_waiting(), cancelled * (kReplicas - 1));
}

}  // namespace
}  // namespace tf_embed::virtual_tpu
