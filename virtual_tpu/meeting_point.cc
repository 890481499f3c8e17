#include "virtual_tpu/meeting_point.h"

#include <algorithm>
#include <utility>

namespace tf_embed::virtual_tpu {
namespace {

Status CancelledWait() {
  return Cancelled(
      "the wait for the other replicas of a collective was cancelled");
}

bool HaveCommonMember(const std::vector<int>& a, const std::vector<int>& b) {
  return std::find_first_of(a.begin(), a.end(), b.begin(), b.end()) != a.end();
}

std::string List(const std::vector<int>& group) {
  std::string list;
  for (int member : group) {
    list += StrCat(list.empty() ? "[" : ", ", member);
  }
  return list + "]";
}

Status Disagreement(const std::vector<int>& one,
                    const std::vector<int>& other) {
  return InvalidArgument("the replicas disagree about their groups: one is in ",
                         List(one), ", another in ", List(other));
}

}  // namespace

int64_t MeetingPoint::NewTicket() {
  std::lock_guard<std::mutex> lock(mu_);
  const int64_t ticket = next_ticket_++;
  tickets_.emplace(ticket, Ticket());
  return ticket;
}

void MeetingPoint::Arrive(int64_t ticket, const std::string& key,
                          const std::vector<int>& group, int position,
                          void* payload, const Work& work, Done done) {
  std::vector<Member> members;
  Status status;
  {
    std::unique_lock<std::mutex> lock(mu_);
    Ticket& mine = tickets_.at(ticket);
    if (mine.cancelled) {
      tickets_.erase(ticket);
      lock.unlock();
      done(CancelledWait());
      return;
    }
    mine.key = key;
    std::deque<Round>& rounds = rounds_[key];
    auto round = rounds.begin();
    for (; round != rounds.end(); ++round) {
      if (round->group != group) {
        if (!HaveCommonMember(round->group, group)) continue;
        status = Disagreement(round->group, group);
        break;
      }
      if (round->members[position].ticket == 0) break;
    }
    if (!status.ok()) {
      members = TakeMembers(round, key);
      tickets_.erase(ticket);
      members.push_back(Member{ticket, payload, std::move(done)});
    } else {
      if (round == rounds.end()) {
        rounds.emplace_back();
        round = std::prev(rounds.end());
        round->group = group;
        round->members.resize(group.size());
      }
      round->members[position] = Member{ticket, payload, std::move(done)};
      if (++round->num_there < static_cast<int>(group.size())) return;
      members = TakeMembers(round, key);
    }
  }
  if (status.ok()) {
    std::vector<void*> payloads;
    payloads.reserve(members.size());
    for (const Member& member : members) payloads.push_back(member.payload);
    status = work(payloads);
  }
  for (const Member& member : members) member.done(status);
}

std::vector<MeetingPoint::Member> MeetingPoint::TakeMembers(
    std::deque<Round>::iterator round, const std::string& key) {
  std::vector<Member> there;
  for (Member& member : round->members) {
    if (member.ticket == 0) continue;
    tickets_.erase(member.ticket);
    there.push_back(std::move(member));
  }
  std::deque<Round>& rounds = rounds_.at(key);
  rounds.erase(round);
  if (rounds.empty()) rounds_.erase(key);
  return there;
}

void MeetingPoint::Cancel(int64_t ticket) {
  Done done;
  {
    std::lock_guard<std::mutex> lock(mu_);
    auto it = tickets_.find(ticket);
    if (it == tickets_.end()) return;
    if (it->second.key.empty()) {
      it->second.cancelled = true;
      return;
    }
    auto rounds = rounds_.find(it->second.key);
    for (auto round = rounds->second.begin(); round != rounds->second.end();
         ++round) {
      for (Member& member : round->members) {
        if (member.ticket != ticket) continue;
        done = std::move(member.done);
        member = Member();
        --round->num_there;
      }
    }
    // A round that nobody is in any more must not swallow the next arrival of
    // one member while the others start afresh.
    std::deque<Round>& left = rounds->second;
    for (auto round = left.begin(); round != left.end();) {
      round = round->num_there == 0 ? left.erase(round) : std::next(round);
    }
    if (left.empty()) rounds_.erase(rounds);
    tickets_.erase(it);
  }
  if (done) done(CancelledWait());
}

int MeetingPoint::num_waiting() const {
  std::lock_guard<std::mutex> lock(mu_);
  int waiting = 0;
  for (const auto& [key, rounds] : rounds_) {
    for (const Round& round : rounds) waiting += round.num_there;
  }
  return waiting;
}

}  // namespace tf_embed::virtual_tpu
