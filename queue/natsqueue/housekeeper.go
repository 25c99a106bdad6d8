package natsqueue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ferry/queue"
)

// How often what is completed is removed from the streams, and from how much of
// it on removing pays. Under load it is often: the server keeps what was written
// in the last ten seconds in memory, in blocks of 8 MB, unless it is removed.
const (
	tidyEvery   = time.Second
	tidyQuiet   = 15 * time.Second // when little was published meanwhile
	tidyCrowded = 3 * time.Second  // and the stream fills up even so
	tidyTimeout = 10 * time.Second
	tidyFrom    = 1000   // packets before the first that is still open
	tidyRoute   = 50_000 // of one route, behind another that stands still
)

// Few large packets fill a stream as many small ones do. Beyond these parts of
// what it may take, whatever can be removed pays.
const (
	crowdedFront = 4 // a quarter: packets before the first that is still open
	crowdedRoute = 2 // half: those of one route, behind another that stands still
)

// housekeeper removes completed packets from the streams.
//
// Removing the front of a stream is cheap, so that is what it does as a rule: up
// to the first packet that any route has open. Where one route stands still, the
// completed packets of the others are removed route by route.
type housekeeper struct {
	manager *manager
	log     *slog.Logger

	mu    sync.Mutex
	known map[queue.Address]*tidied

	lastSeen map[string]uint64    // by stream, a round ago
	lastTime map[string]time.Time // of a round
	cancel   context.CancelFunc
	stopped  chan struct{}

	link   *link
	sick   func() []string // streams that cannot write; nil: cannot be told
	room   func() bool     // on the disk, for making them anew
	healed time.Time       // of the last look
}

// tidied is what is known of one address.
type tidied struct {
	upTo uint64 // removed by itself, up to here
	idle uint64 // nothing of it was open up to here when it was last seen idle
}

func startHousekeeper(m *manager, l *link, s *Server, log *slog.Logger) *housekeeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &housekeeper{
		manager: m, link: l, log: log, known: make(map[queue.Address]*tidied),
		lastSeen: make(map[string]uint64), lastTime: make(map[string]time.Time), cancel: cancel, stopped: make(chan struct{}),
	}
	if s != nil {
		k.sick, k.room = s.sickStreams, s.hasRoom
	}
	go func() {
		defer close(k.stopped)
		ticker := time.NewTicker(tidyEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				k.heal(ctx)
				k.tidy(ctx)
			}
		}
	}()
	return k
}

func (k *housekeeper) close() {
	k.cancel()
	<-k.stopped
}

func (k *housekeeper) add(address queue.Address) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known[address] == nil {
		k.known[address] = &tidied{}
	}
}

func (k *housekeeper) seenIdle(address queue.Address, upTo uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known[address].idle = upTo
}

// idleUpTo forgets what was seen of another stream, whose numbers were higher.
func (k *housekeeper) idleUpTo(address queue.Address, last uint64) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.known[address]
	if a.idle > last || a.upTo > last {
		*a = tidied{}
	}
	return a.idle
}

func (k *housekeeper) addresses(stream string) []queue.Address {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []queue.Address
	for address := range k.known {
		if namesOf(address, brokerName).stream == stream {
			list = append(list, address)
		}
	}
	return list
}

func (k *housekeeper) tidy(ctx context.Context) {
	if !k.link.isUp() {
		return // that is told once, and what was not removed stays a while
	}
	for _, name := range []string{messageStream, receiptStream} {
		bounded, cancel := context.WithTimeout(ctx, tidyTimeout)
		worth, err := k.worthwhile(bounded, name)
		if worth {
			err = k.tidyStream(bounded, name)
		}
		cancel()
		if err != nil && ctx.Err() == nil && k.link.isUp() && !errors.Is(err, jetstream.ErrStreamNotFound) {
			k.log.Warn("queue.tidy", "stream", name, "error", err.Error())
		}
	}
}

// worthwhile says whether much was published since the last round, or the last
// round was long ago for how full the stream is.
func (k *housekeeper) worthwhile(ctx context.Context, name string) (bool, error) {
	if since := time.Since(k.lastTime[name]); since < tidyQuiet {
		stream, err := k.manager.js.Stream(ctx, name)
		if err != nil {
			return false, err
		}
		info := stream.CachedInfo()
		last, before := info.State.LastSeq, k.lastSeen[name]
		crowded := since >= tidyCrowded && usesMore(info, crowdedRoute)
		if last >= before && last-before < tidyFrom && !crowded {
			return false, nil
		}
	}
	k.lastTime[name] = time.Now()
	return true, nil
}

// usesMore says whether the stream has used more than one part, of so many, of
// what it may take.
func usesMore(info *jetstream.StreamInfo, parts uint64) bool {
	most := info.Config.MaxBytes
	return most > 0 && info.State.Bytes > uint64(most)/parts
}

func (k *housekeeper) tidyStream(ctx context.Context, name string) error {
	addresses := k.addresses(name)
	if len(addresses) == 0 {
		return nil
	}
	stream, err := k.manager.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	before := k.lastSeen[name]
	k.lastSeen[name] = state.LastSeq
	if state.LastSeq < before {
		before = 0 // another stream than a round ago
	}
	front := state.LastSeq
	settled := make(map[queue.Address]settling, len(addresses))
	for _, address := range addresses {
		consumer, err := stream.Consumer(ctx, namesOf(address, brokerName).consumer)
		if err != nil {
			return err
		}
		info := consumer.CachedInfo()
		upTo := settledOf(info)
		if info.NumPending == 0 && info.NumAckPending == 0 {
			// Nothing of an idle route is open. Its consumer may learn of a packet a
			// moment after the stream took it, so only what is a round old counts.
			k.seenIdle(address, before)
		}
		upTo = max(upTo, k.idleUpTo(address, state.LastSeq))
		settled[address] = settling{upTo: upTo, open: info.NumPending + uint64(max(info.NumAckPending, 0))}
		front = min(front, upTo)
	}
	if front >= state.FirstSeq && (front-state.FirstSeq >= tidyFrom || usesMore(stream.CachedInfo(), crowdedFront)) {
		if err := k.manager.purge(ctx, stream, jetstream.WithPurgeSequence(front+1)); err != nil {
			return err
		}
	}
	return k.tidyRoutes(ctx, stream, front, settled)
}

// settling is how far a route is: everything of it is completed up to upTo, and
// so many packets are not.
type settling struct{ upTo, open uint64 }

// tidyRoutes removes what lies completed behind a route that stands still. In a
// stream that fills up that is whatever there is, so that the others go on.
func (k *housekeeper) tidyRoutes(ctx context.Context, stream jetstream.Stream, front uint64, settled map[queue.Address]settling) error {
	var there map[string]uint64 // packets by subject
	if usesMore(stream.CachedInfo(), crowdedRoute) {
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			return err
		}
		there = info.State.Subjects
	}
	for address, of := range settled {
		k.mu.Lock()
		done := max(k.known[address].upTo, front)
		k.mu.Unlock()
		subject := namesOf(address, brokerName).filter()
		crowding := of.upTo > done && there[subject] > of.open
		if of.upTo < done+tidyRoute && !crowding {
			continue
		}
		if err := k.manager.purge(ctx, stream, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(of.upTo+1)); err != nil {
			return err
		}
		k.mu.Lock()
		k.known[address].upTo = of.upTo
		k.mu.Unlock()
	}
	return nil
}
