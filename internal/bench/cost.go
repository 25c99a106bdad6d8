package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/secret"
)

// coreCalls is how many calls each contender of the adapter's cost makes in a
// turn: some hundred milliseconds of processor time.
const coreCalls = 5000

// coreTurns is how many turns there are for each round asked for: a turn is short.
const coreTurns = 7

// adapterCost compares what a delivery costs this process in processor time, by
// the adapter without jq and credentials, and by http.Client alone. The server
// is a process of its own, whose time does not count.
func (b *bench) adapterCost() error {
	server, err := b.start("-role", "created")
	if err != nil {
		return err
	}
	defer func() { _ = server.stop() }()
	dest, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{
		Name: "bench-erp", Adapter: "erp", Dialect: "rest", URL: server.url, Timeout: 10 * time.Second,
	})
	if err != nil {
		return err
	}
	defer func() { _ = dest.Close() }()
	adapter, err := dest.Route(adapters.RouteConfig{Route: benchRoute, URL: "/invoices"})
	if err != nil {
		return err
	}
	body := []byte(`{"number":"A-1","filler":"` + strings.Repeat("x", 998) + `"}`)
	contenders := [2]func() error{barePost(server.url, body), deliverOne(adapter, body)}
	turns := b.rounds * coreTurns
	fmt.Printf("Processor time of a delivery by the adapter (dialect rest, no map, no reference, no credentials) and of a bare http.Client.Post, 1 KiB bodies to a server in a process of its own, %d calls a turn, medians of %d turns\n\n", coreCalls, turns)
	fmt.Printf("%6s %14s %14s %14s %8s\n", "calls", "bare cpu µs", "adapter cpu µs", "more cpu µs", "ratio")
	for _, at := range []int{1, 16} {
		bare, core, ratios := []float64{}, []float64{}, []float64{}
		for i := range turns + 1 {
			var costs [2]float64
			for _, who := range [][]int{{0, 1}, {1, 0}}[i%2] { // neither is always the first
				if costs[who], err = cpuPerCall(at, contenders[who]); err != nil {
					return err
				}
			}
			if i == 0 {
				continue // connections and caches are made
			}
			bare, core, ratios = append(bare, costs[0]), append(core, costs[1]), append(ratios, costs[1]/costs[0])
		}
		fmt.Printf("%6d %14.1f %14.1f %14.1f %8.2f\n", at, median(bare), median(core), median(core)-median(bare), median(ratios))
	}
	fmt.Println()
	return nil
}

// cpuPerCall is the processor time of a call in µs, `at` of them at a time.
func cpuPerCall(at int, call func() error) (float64, error) {
	var wg sync.WaitGroup
	failed := make(chan error, at)
	before, err := cpuTime()
	if err != nil {
		return 0, err
	}
	for range at {
		wg.Go(func() {
			for range coreCalls / at {
				if err := call(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	after, err := cpuTime()
	if err != nil {
		return 0, err
	}
	select {
	case err := <-failed:
		return 0, err
	default:
	}
	return float64(after-before) / float64(time.Microsecond) / float64(coreCalls/at*at), nil
}

// barePost is what the adapter is held against: the call and its answer.
func barePost(url string, body []byte) func() error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // as the adapter has; the default of 2 would dial all the time
	client := &http.Client{Transport: transport}
	return func() error {
		resp, err := client.Post(url+"/invoices", "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusCreated {
			return fmt.Errorf("status %d, %w", resp.StatusCode, err)
		}
		return nil
	}
}

func deliverOne(adapter adapters.Adapter, body []byte) func() error {
	now := time.Now()
	call := adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: ferry.NewID(now), Route: benchRoute, Turn: 1, Revision: 1, ExternalKey: "A-1",
		ContentType: "application/json", Body: body, Size: int64(len(body)), CreatedAt: now,
	}}
	return func() error {
		if v := adapter.Deliver(context.Background(), call); v.Kind != ferry.Delivered {
			return fmt.Errorf("%+v", v)
		}
		return nil
	}
}

// serveCreated answers every call with the same 201.
func serveCreated() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"INV-1","status":"booked"}`)
	})}
	go func() { _ = server.Serve(l) }()
	fmt.Printf("ready http://%s -\n", l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}
