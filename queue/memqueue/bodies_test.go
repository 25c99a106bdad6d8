package memqueue_test

import (
	"testing"

	"ferry/queue"
	"ferry/queue/memqueue"
	"ferry/queue/queuetest"
)

func TestBodies(t *testing.T) {
	queuetest.RunBodies(t, queuetest.BodiesHarness{
		Open:  func(testing.TB) queue.BodyStore { return memqueue.NewBodies() },
		Alter: func(_ testing.TB, s queue.BodyStore, name string) { s.(*memqueue.Bodies).Alter(name) },
	})
}
