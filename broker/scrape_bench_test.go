package broker

import (
	"context"
	"fmt"
	"testing"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
)

// BenchmarkScrape is what a scrape costs with as many routes as there may be, on each
// of which messages wait.
func BenchmarkScrape(b *testing.B) {
	var routes []ferry.Route
	for i := range ferry.MaxRoutes {
		routes = append(routes, ferry.Route{Name: fmt.Sprintf("route-%d", i)})
	}
	mem, logins := memqueue.New(memqueue.Options{}), 0
	broker, err := New(b.Context(), Options{
		DataDir: b.TempDir(), Version: "bench", MinFree: -1, Routes: routes,
		OpenTransport: func(context.Context, []ferry.WorkerInfo) (Transport, error) {
			return memTransport{q: queue.New(mem.Broker(), queue.Options{}), mem: mem, n: &logins}, nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = broker.Stop(context.Background()) }()
	for _, r := range routes {
		batch := make([]ferry.Message, 50)
		for i := range batch {
			batch[i] = ferry.Message{Route: r.Name, Body: []byte(`{}`)}
		}
		if _, _, err := broker.AcceptBatch(b.Context(), batch, false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := broker.metrics.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
