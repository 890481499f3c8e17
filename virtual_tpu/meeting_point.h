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
//   Arrive(ticket, key, position, group_size, payload, work, done);
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
  // round's `work` (the last member's; every member brings the same), or with
  // Cancelled. The payload must live until then.
  void Arrive(int64_t ticket, const std::string& key, int position,
              int group_size, void* payload, const Work& work, Done done);

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
    std::vector<Member> members;
    int num_there = 0;
  };
  struct Ticket {
    bool cancelled = false;
    std::string key;  // empty until arrival
  };

  mutable std::mutex mu_;
  int64_t next_ticket_ = 1;
  std::map<int64_t, Ticket> tickets_;
  std::map<std::string, std::deque<Round>> rounds_;  // oldest first
};

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_MEETING_POINT_H_
