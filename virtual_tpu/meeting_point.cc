#include "virtual_tpu/meeting_point.h"

#include <utility>

namespace tf_embed::virtual_tpu {
namespace {

Status CancelledWait() {
  return Cancelled(
      "the wait for the other replicas of a collective was cancelled");
}

}  // namespace

int64_t MeetingPoint::NewTicket() {
  std::lock_guard<std::mutex> lock(mu_);
  const int64_t ticket = next_ticket_++;
  tickets_.emplace(ticket, Ticket());
  return ticket;
}

void MeetingPoint::Arrive(int64_t ticket, const std::string& key, int position,
                          int group_size, void* payload, const Work& work,
                          Done done) {
  Round complete;
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
    while (round != rounds.end() && round->members[position].ticket != 0) {
      ++round;
    }
    if (round == rounds.end()) {
      rounds.emplace_back();
      round = std::prev(rounds.end());
      round->members.resize(group_size);
    }
    round->members[position] = Member{ticket, payload, std::move(done)};
    if (++round->num_there < group_size) return;
    complete = std::move(*round);
    rounds.erase(round);
    if (rounds.empty()) rounds_.erase(key);
    for (const Member& member : complete.members) {
      tickets_.erase(member.ticket);
    }
  }
  std::vector<void*> payloads;
  payloads.reserve(complete.members.size());
  for (const Member& member : complete.members) {
    payloads.push_back(member.payload);
  }
  const Status status = work(payloads);
  for (const Member& member : complete.members) member.done(status);
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
