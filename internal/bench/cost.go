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

// Who makes the calls that are compared.
const (
	costBare    = iota // http.Client.Post, which waits for ever
	costBounded        // the same request with a deadline, as anybody would make it
	costAdapter
	costContenders
)

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
		Name: "bench-erp", Adapter: "erp", Dialect: "rest", URL: server.url, Timeout: costTimeout,
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
	makers := [costContenders]func() error{barePost(server.url, body), boundedPost(server.url, body), deliverOne(adapter, body)}
	turns := b.rounds * coreTurns
	fmt.Printf("Processor time of a delivery by the adapter (dialect rest, no map, no reference, no credentials) beside http.Client alone, 1 KiB bodies to a server in a process of its own, %d calls a turn, medians of %d turns\n\n", coreCalls, turns)
	fmt.Printf("%14s %14s %18s %12s %9s %9s\n", "calls at once", "(a) Post µs", "(b) bounded µs", "adapter µs", "/(a)", "/(b)")
	for _, at := range []int{1, 16} {
		var costs [costContenders][]float64
		for turn := range turns + 1 {
			for i := range makers {
				who := (turn + i) % len(makers) // each is the first as often as the others
				cost, err := cpuPerCall(at, makers[who])
				if err != nil {
					return err
				}
				if turn > 0 { // in the first, connections and caches are made
					costs[who] = append(costs[who], cost)
				}
			}
		}
		beside := func(other int) float64 {
			ratios := make([]float64, turns)
			for i := range ratios {
				ratios[i] = costs[costAdapter][i] / costs[other][i]
			}
			return median(ratios)
		}
		toBare, toBounded := beside(costBare), beside(costBounded)
		fmt.Printf("%14d %14.1f %18.1f %12.1f %9.2f %9.2f\n", at,
			median(costs[costBare]), median(costs[costBounded]), median(costs[costAdapter]), toBare, toBounded)
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

// costTimeout bounds the calls of those that bound them.
const costTimeout = 10 * time.Second

func costClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // as the adapter has; the default of 2 would dial all the time
	return &http.Client{Transport: transport}
}

func barePost(url string, body []byte) func() error {
	client := costClient()
	return func() error {
		return created(client.Post(url+"/invoices", "application/json", bytes.NewReader(body)))
	}
}

func boundedPost(url string, body []byte) func() error {
	client := costClient()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), costTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/invoices", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		return created(client.Do(req))
	}
}

// created reads the answer, and wants it to be 201.
func created(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
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
