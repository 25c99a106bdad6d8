package natsqueue

import (
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// marks remember where each stream begins, so that packets which somebody else
// removed, an operator who purged the stream say, count as what they are: lost.
// Without them the readers of an emptied stream look as if they were done.
type marks struct {
	mu sync.Mutex // held while a stream is asked and judged, and while we remove
	of map[string]*mark
}

type mark struct {
	created time.Time
	first   uint64
	losses  int
}

func beginning(info *jetstream.StreamInfo) uint64 { return max(info.State.FirstSeq, 1) }

// incarnation names the stream as it is: another name after it was made anew,
// and after somebody else removed packets from its front. m.mu is held.
func (m *marks) incarnation(name string, info *jetstream.StreamInfo) string {
	k := m.of[name]
	if k == nil || !k.created.Equal(info.Created) {
		k = &mark{created: info.Created, first: beginning(info)}
		m.of[name] = k
	}
	if first := beginning(info); first > k.first {
		k.first = first
		k.losses++
	}
	id := strconv.FormatInt(info.Created.UnixNano(), 36)
	if k.losses > 0 {
		id += "." + strconv.Itoa(k.losses)
	}
	return id
}

// removed notes that we removed packets ourselves. m.mu is held.
func (m *marks) removed(name string, info *jetstream.StreamInfo) {
	if k := m.of[name]; k != nil && k.created.Equal(info.Created) {
		k.first = max(k.first, beginning(info))
	}
}
