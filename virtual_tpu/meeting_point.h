#ifndef TF_EMBED_VIRTUAL_TPU_MEETING_POINT_H_
#define TF_EMBED_VIRTUAL_TPU_MEETING_POINT_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tf_embed/base/status.h"

namespace tf_embed::virtual_tpu {

// Where the replicas of a collective operation meet. Blocks no thread: whoever
// comes last does the work and calls everybody back.
//
//   ticket = NewTicket();
//   ... arrange for Cancel(ticket) to be called on cancellation ...
//   Arrive(ticket, key, group, position, payload, work, done);
//
// A group is the list of its members, of whom `position` says which one
// arrives. Groups of one key that have nobody in common are apart. Where they
// have, and are not the same, the members disagree: InvalidArgument for all
// that are there.
//
// Members of a group that arrive again before the others have come start the
// next round of their key: the n-th arrival of one meets the n-th of the rest.
class MeetingPoint {
 public:
  // Gets the payloads in the order of the members' positions.
  using Work = std::function<Status(const std::vector<void*>& payloads)>;
  using Done = std::function<void(const Status&)>;

  // A ticket comes before the arrival so that a cancellation between the two
  // is not lost.
  int64_t NewTicket();

  // `done` is called exactly once, without a lock held: with the status of the
  // round's `work` (the last member's; every member brings the same), with
  // InvalidArgument or with Cancelled. The payload must live until then.
  void Arrive(int64_t ticket, const std::string& key,
              const std::vector<int>& group, int position, void* payload,
              const Work& work, Done done);

  // Takes the member out of its round. Nothing happens if the round is over.
  void Cancel(int64_t ticket);

  // Members that wait now.
  int num_waiting() const;

 private:
  struct Member {
    int64_t ticket = 0;  // 0: not there
    void* payload = nullptr;
    Done done;
  };
  struct Round {
    std::vector<int> group;
    std::vector<Member> members;  // by position
    int num_there = 0;
  };
  struct Ticket {
    bool cancelled = false;
    std::string key;  // empty until arrival
  };

  // Forgets the members that are there, to be called back.
  std::vector<Member> TakeMembers(std::deque<Round>::iterator round,
                                  const std::string& key);

  mutable std::mutex mu_;
  int64_t next_ticket_ = 1;
  std::map<int64_t, Ticket> tickets_;
  std::map<std::string, std::deque<Round>> rounds_;  // oldest first
};

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_MEETING_POINT_H_
