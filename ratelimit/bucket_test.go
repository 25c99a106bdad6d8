package ratelimit_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/ratelimit"
)

func limit(t *testing.T, rate string, burst int) ferry.Limit {
	t.Helper()
	r, err := ferry.ParseRate(rate)
	if err != nil {
		t.Fatal(err)
	}
	return ferry.Limit{Rate: r, Burst: burst}
}

// TestRateUnder64Senders: 64 senders at once, of whom each waits as it was told, in
// whole seconds as Retry-After tells it, or does not care and asks every few
// milliseconds. Whatever they do, in no time more than rate × time + burst is let
// in, and over a minute not less than 0.99 of it.
func TestRateUnder64Senders(t *testing.T) {
	for _, rate := range []string{"600/m", "10/s", "1000/s", "90/m", "5000/h"} {
		for _, polite := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s polite=%v", rate, polite), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := limit(t, rate, 0)
					const span = time.Minute
					spec, bucket, began := ratelimit.NewSpec(l), &ratelimit.Bucket{}, time.Now()
					times := make(chan time.Duration, 1<<20)
					var senders sync.WaitGroup
					for i := range 64 {
						senders.Go(func() {
							r := rand.New(rand.NewPCG(1, uint64(i)))
							for time.Since(began) < span {
								now := time.Since(began)
								a := bucket.Take(spec, now, 1)
								switch {
								case a.OK:
									times <- now
									time.Sleep(time.Duration(r.Int64N(int64(3 * time.Millisecond))))
								case polite:
									time.Sleep((a.After + time.Second - 1).Truncate(time.Second))
								default:
									time.Sleep(time.Duration(1+r.IntN(20)) * time.Millisecond)
								}
							}
						})
					}
					senders.Wait()
					close(times)
					var all []time.Duration
					for at := range times {
						all = append(all, at)
					}
					perSecond, burst := l.Rate.PerSecond(), float64(l.BurstOr())
					could := perSecond*span.Seconds() + burst
					if polite {
						could -= burst // the last second's are told to come when it is over
					}
					if float64(len(all)) < 0.99*could-1 { // the last one may not be whole
						t.Errorf("%d were let in, %.1f could have been", len(all), could)
					}
					// In every window, not only in the whole: the times are in order.
					for i, from := range all {
						for j := i; j < len(all); j += 1 + len(all)/50 {
							if n, most := float64(j-i+1), perSecond*(all[j]-from).Seconds()+burst+1e-6; n > most {
								t.Fatalf("%v in the %s after %s, at most %.2f", n, all[j]-from, from, most)
							}
						}
					}
				})
			})
		}
	}
}

// TestParallelTakersNeverGetMore: one instant, as many goroutines as like; exactly
// the burst is let in.
func TestParallelTakersNeverGetMore(t *testing.T) {
	spec, bucket := ratelimit.NewSpec(limit(t, "10/s", 500)), &ratelimit.Bucket{}
	var got atomic.Int64
	var takers sync.WaitGroup
	for range 64 {
		takers.Go(func() {
			for range 100 {
				if bucket.Take(spec, time.Second, 1).OK {
					got.Add(1)
				}
			}
		})
	}
	takers.Wait()
	if got.Load() != 500 {
		t.Errorf("%d were let in at one instant, the burst is 500", got.Load())
	}
}

// TestAfterIsWhenItCanBeHad: who waits as long as told gets it, and those refused
// one after the other are not all told the same time.
func TestAfterIsWhenItCanBeHad(t *testing.T) {
	spec, bucket := ratelimit.NewSpec(limit(t, "2/s", 2)), &ratelimit.Bucket{}
	now := time.Minute
	bucket.Take(spec, now, 2)
	var told []time.Duration
	for range 4 {
		a := bucket.Take(spec, now, 1)
		if a.OK {
			t.Fatal("let in beyond the burst")
		}
		told = append(told, a.After)
	}
	if got := fmt.Sprint(told); got != "[500ms 1s 1.5s 2s]" {
		t.Errorf("told to wait %s", got)
	}
	for i, after := range told {
		if a := bucket.Take(spec, now+after, 1); !a.OK {
			t.Errorf("the %d. came when it was told and is to wait %s more", i+1, a.After)
		}
	}
}

// TestAfterIsBounded: who asks without end does not put the others off for ever.
func TestAfterIsBounded(t *testing.T) {
	spec, bucket := ratelimit.NewSpec(limit(t, "1/s", 1)), &ratelimit.Bucket{}
	bucket.Take(spec, 0, 1)
	for range 10_000 {
		if a := bucket.Take(spec, 0, 1); a.After > 30*time.Second || a.After < time.Second {
			t.Fatalf("told to wait %s for what can be had in 1s", a.After)
		}
	}
}

func TestBatches(t *testing.T) {
	spec, bucket := ratelimit.NewSpec(limit(t, "10/s", 10)), &ratelimit.Bucket{}
	if a := bucket.Take(spec, 0, 50); !a.OK || a.Left != 0 || a.Reset != 5*time.Second {
		t.Errorf("a batch larger than the burst, from a full bucket: %+v", a)
	}
	// It is paid off before anything else comes, and the next one after it.
	if a := bucket.Take(spec, 4*time.Second, 1); a.OK || a.After != 100*time.Millisecond {
		t.Errorf("before it is paid off: %+v", a)
	}
	if a := bucket.Take(spec, 4500*time.Millisecond, 50); a.OK || a.After < 500*time.Millisecond {
		t.Errorf("a second batch while the bucket is not full: %+v", a)
	}
	if a := bucket.Take(spec, 5*time.Second, 50); !a.OK {
		t.Errorf("a second batch, the bucket full: %+v", a)
	}
}

func TestGivenBack(t *testing.T) {
	spec, bucket := ratelimit.NewSpec(limit(t, "1/m", 1)), &ratelimit.Bucket{}
	bucket.Take(spec, time.Hour, 1)
	bucket.Give(spec, 1)
	if a := bucket.Take(spec, time.Hour, 1); !a.OK {
		t.Error("what was given back cannot be had")
	}
	if a := bucket.Take(spec, time.Hour, 1); a.OK || a.After != time.Minute {
		t.Errorf("a second one: %+v", a)
	}
}

func TestTableStaysBounded(t *testing.T) {
	table, spec := ratelimit.NewTable(1000), ratelimit.NewSpec(limit(t, "1/h", 1))
	if !table.Bucket("mine", 0).Take(spec, 0, 1).OK {
		t.Fatal("a new bucket is not full")
	}
	for i := range 100_000 {
		now := time.Duration(i) * time.Millisecond
		table.Bucket(fmt.Sprint("other-", i), now) // full: forgotten first
		if i%10 == 0 && table.Bucket("mine", now).Take(spec, now, 1).OK {
			t.Fatalf("after %d others my bucket is as if it were new", i)
		}
	}
	if n := table.Len(); n > 1000 {
		t.Errorf("%d buckets, at most 1000", n)
	}
}

// TestBusyBucketsAreForgottenByAge: when none is full, those not asked for the
// longest go, and one that is asked for all the time stays.
func TestBusyBucketsAreForgottenByAge(t *testing.T) {
	table, spec := ratelimit.NewTable(1000), ratelimit.NewSpec(limit(t, "1/h", 1))
	table.Bucket("mine", 0).Take(spec, 0, 1)
	for i := range 20_000 {
		now := time.Duration(i) * time.Millisecond
		table.Bucket(fmt.Sprint("other-", i), now).Take(spec, now, 1)
		if table.Bucket("mine", now).Take(spec, now, 1).OK {
			t.Fatalf("after %d others my bucket is as if it were new", i)
		}
	}
	if n := table.Len(); n > 1000 {
		t.Errorf("%d buckets, at most 1000", n)
	}
}

func BenchmarkTake(b *testing.B) {
	table := ratelimit.NewTable(1000)
	spec := ratelimit.NewSpec(ferry.Limit{Rate: ferry.Rate{Calls: 1_000_000, Per: time.Second}})
	began := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			now := time.Since(began)
			table.Bucket("key", now).Take(spec, now, 1)
		}
	})
}
