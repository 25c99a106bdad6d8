package sbemu

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"ferry/internal/sbemu/entity"
)

// RootPolicy is the policy that a namespace has when Options name none.
const RootPolicy = "RootManageSharedAccessKey"

// Options of Start. The zero value is a namespace without queues on a free port of
// 127.0.0.1, with RootPolicy and a random key.
type Options struct {
	Listen string      // HOST:PORT; empty: a free port of 127.0.0.1
	TLS    *tls.Config // nil: TLS is refused
	Log    *slog.Logger
	// Policies by name: who may do what. Nil: RootPolicy with all rights.
	Policies map[string]Policy
	Queues   []entity.Config
	// Delay is added to the way of each byte, in both directions, without a limit
	// on how many are on the way: the half of a simulated round trip.
	Delay time.Duration
	// CheckJWT names the policy that a token of Entra ID stands for. Nil: such
	// tokens are refused.
	CheckJWT func(token string) (policy string, err error)
	Limits   Limits
}

// Policy is a shared access policy.
type Policy struct {
	Keys   []string // any of them signs; two let one be changed
	Rights Rights   // on every queue
	// Entities has further rights by the name of the queue, in any case.
	Entities map[string]Rights
}

// Rights is a set of what may be done.
type Rights uint8

// The rights of the service. Manage stands for all of them.
const (
	Listen Rights = 1 << iota
	Send
	manage
	Manage = manage | Listen | Send
)

// on returns the rights on a queue.
func (p Policy) on(queue string) Rights {
	all := p.Rights
	for name, r := range p.Entities {
		if strings.EqualFold(name, queue) {
			all |= r
		}
	}
	return all
}

// Limits bounds what peers can make grow. Zero values take the defaults.
type Limits struct {
	Connections  int           // at a time; default 1,000
	Sessions     int           // of a connection; default 1,000
	Links        int           // of a connection; default 2,000
	Claims       int           // tokens of a connection; default 2,000
	Unsettled    int           // deliveries of a link in the peer's hands; default 10,000
	Replies      int           // replies of a link that wait for credit; default 1,000
	FrameBytes   int           // of one frame; default 64 KiB
	PartialBytes int           // of messages of a connection whose end has not come; default 256 MiB
	OutBytes     int           // that wait to be written before a peer is read no further; default 1 MiB
	IdleTimeOut  time.Duration // a peer silent for twice as long is cut; default 1 min
	Handshake    time.Duration // until a connection is open; default 20 s
	TokenLife    time.Duration // of a token signed with a key, at most; default 400 days
}

func (l Limits) withDefaults() Limits {
	set(&l.Connections, 1_000)
	set(&l.Sessions, 1_000)
	set(&l.Links, 2_000)
	set(&l.Claims, 2_000)
	set(&l.Unsettled, 10_000)
	set(&l.Replies, 1_000)
	set(&l.FrameBytes, 64<<10)
	set(&l.PartialBytes, 256<<20)
	set(&l.OutBytes, 1<<20)
	set(&l.IdleTimeOut, time.Minute)
	set(&l.Handshake, 20*time.Second)
	set(&l.TokenLife, 400*24*time.Hour)
	return l
}

func set[T int | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// smallestFrame is what every peer must take.
const smallestFrame = 512

func (o Options) withDefaults() (Options, error) {
	o.Limits = o.Limits.withDefaults()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Limits.FrameBytes < smallestFrame {
		return o, fmt.Errorf("frames of %d bytes: at least %d", o.Limits.FrameBytes, smallestFrame)
	}
	if o.Delay < 0 {
		return o, errors.New("the delay is below zero")
	}
	if o.Policies == nil {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		o.Policies = map[string]Policy{RootPolicy: {Keys: []string{base64.StdEncoding.EncodeToString(key)}, Rights: Manage}}
	}
	return o, nil
}
