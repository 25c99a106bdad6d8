package memqueue_test

import (
	"testing"
	"time"

	"ferry/queue"
	"ferry/queue/memqueue"
	"ferry/queue/queuetest"
)

func TestConformance(t *testing.T) {
	const lock = time.Minute
	queuetest.Run(t, queuetest.Harness{
		Bubble: true,
		Lock:   lock,
		Open: func(testing.TB, string) *queuetest.Env {
			b := memqueue.New(memqueue.Options{Lock: lock})
			return &queuetest.Env{
				Broker: b.Broker,
				Worker: func(name string, routes ...string) queue.Driver { return b.Worker(name, routes...) },
				Revoke: b.Revoke,
				Lose:   b.Forget,
				SetAside: func(address queue.Address, reason, description string) {
					b.SetAside(address, reason, description)
				},
				Stop: func() {},
			}
		},
	})
}

func BenchmarkQueue(b *testing.B) {
	queuetest.Benchmark(b, queuetest.Harness{Open: func(testing.TB, string) *queuetest.Env {
		m := memqueue.New(memqueue.Options{})
		return &queuetest.Env{
			Broker: m.Broker,
			Worker: func(name string, routes ...string) queue.Driver { return m.Worker(name, routes...) },
			Stop:   func() {},
		}
	}})
}
