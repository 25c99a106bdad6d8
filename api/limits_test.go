package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/api"
)

func perMinute(calls, burst int) ferry.Limit {
	return ferry.Limit{Rate: ferry.Rate{Calls: calls, Per: time.Minute}, Burst: burst}
}

func perDay(calls int) ferry.Limit {
	return ferry.Limit{Quota: ferry.Rate{Calls: calls, Per: 24 * time.Hour}}
}

func limited(l api.Limits) func(*api.Options) {
	return func(o *api.Options) { o.Limits = l }
}

const (
	toOrders = "/v1/routes/orders/messages"
	toPings  = "/v1/routes/pings/messages"
)

func TestRatePerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurface(t, limited(api.Limits{PerKey: perMinute(60, 3)}))
		for i := range 3 {
			a := s.call("any-key", http.MethodPost, toOrders, `{}`)
			if a.StatusCode != http.StatusCreated {
				t.Fatalf("the %d. message: %d", i+1, a.StatusCode)
			}
			for name, want := range map[string]string{
				"RateLimit-Limit": "60", "RateLimit-Policy": "60;w=60", "RateLimit-Remaining": strconv.Itoa(2 - i), "RateLimit-Reset": strconv.Itoa(i + 1),
			} {
				if got := a.Header.Get(name); got != want {
					t.Errorf("after %d messages %s is %q, want %q", i+1, name, got, want)
				}
			}
		}
		kept := len(s.fake.order)
		a := s.call("any-key", http.MethodPost, toOrders, `{}`)
		s.refusal(a, ferry.CodeTooManyRequests)
		if after := a.Header.Get("Retry-After"); after != "1" || a.Header.Get("RateLimit-Remaining") != "0" || len(s.fake.order) != kept {
			t.Errorf("Retry-After %q, %q remain, %d messages kept", after, a.Header.Get("RateLimit-Remaining"), len(s.fake.order)-kept)
		}
		// Other keys, and calls that send nothing, are not concerned.
		if a := s.call("sender-key", http.MethodPost, toPings, ``); a.StatusCode != http.StatusCreated {
			t.Errorf("another key: %d", a.StatusCode)
		}
		for range 10 {
			if a := s.call("any-key", http.MethodGet, "/v1/messages", ""); a.StatusCode != http.StatusOK || a.Header.Get("RateLimit-Limit") != "" {
				t.Fatalf("a read: %d", a.StatusCode)
			}
		}
		time.Sleep(time.Second) // as it was told
		if a := s.call("any-key", http.MethodPost, toOrders, `{}`); a.StatusCode != http.StatusCreated {
			t.Errorf("after Retry-After: %d", a.StatusCode)
		}
		// A key's own limit holds in the place of everybody's.
		if a := s.call("slow-key", http.MethodPost, toOrders, `{}`); a.StatusCode != http.StatusCreated {
			t.Errorf("a key with a limit of its own: %d", a.StatusCode)
		}
		a = s.call("slow-key", http.MethodPost, toOrders, `{}`)
		s.refusal(a, ferry.CodeTooManyRequests)
		if after := a.Header.Get("Retry-After"); after != "30" {
			t.Errorf("2 a minute: Retry-After %q", after)
		}
		if refused := fmt.Sprint(s.fake.refused); !strings.Contains(refused, "tooManyRequests") {
			t.Errorf("the refusals were not counted: %s", refused)
		}
	})
}

func TestRatePerRouteIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurface(t, limited(api.Limits{
			PerKey: perMinute(600, 100), Routes: map[string]ferry.Limit{"pings": perMinute(60, 2)},
		}))
		for _, key := range []string{"any-key", "sender-key"} {
			if a := s.call(key, http.MethodPost, toPings, ``); a.StatusCode != http.StatusCreated {
				t.Fatalf("%s: %d", key, a.StatusCode)
			}
		}
		// A key that may not use the route takes nothing of it.
		s.refusal(s.call("orders-receiver-key", http.MethodPost, toPings, ``), ferry.CodeForbidden)
		a := s.call("any-key", http.MethodPost, toPings, ``)
		s.refusal(a, ferry.CodeTooManyRequests)
		if !strings.Contains(string(a.body), "the route") || s.fake.refused[len(s.fake.refused)-1] != "pings:tooManyRequests" {
			t.Errorf("%s; counted as %v", a.body, s.fake.refused)
		}
		// What the route refused was given back to the key.
		if a := s.call("any-key", http.MethodPost, toOrders, `{}`); a.Header.Get("RateLimit-Remaining") != "98" {
			t.Errorf("the key has %s left, want 98", a.Header.Get("RateLimit-Remaining"))
		}
	})
}

// TestBatchCountsItsMessages, of Ferry's own form and of Service Bus'.
func TestBatchCountsItsMessages(t *testing.T) {
	for name, send := range map[string]func(s *surface, n int) answer{
		"batch": func(s *surface, n int) answer {
			return s.call("any-key", http.MethodPost, toOrders+"/batch", "["+strings.TrimSuffix(strings.Repeat(`{"body":{}},`, n), ",")+"]")
		},
		"service bus": func(s *surface, n int) answer {
			return s.call("any-key", http.MethodPost, "/orders/messages", "["+strings.TrimSuffix(strings.Repeat(`{"Body":"x"},`, n), ",")+"]",
				"Content-Type: application/vnd.microsoft.servicebus.json")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := perMinute(60, 10)
				l.Quota = ferry.Rate{Calls: 40, Per: time.Hour}
				s := newSurface(t, limited(api.Limits{PerKey: l}))
				a := send(s, 7)
				if a.StatusCode >= 300 || a.Header.Get("RateLimit-Remaining") != "3" || a.Header.Get("Ferry-Quota-Remaining") != "33" {
					t.Fatalf("%d, %s of the rate and %s of the quota left", a.StatusCode, a.Header.Get("RateLimit-Remaining"), a.Header.Get("Ferry-Quota-Remaining"))
				}
				kept := len(s.fake.order)
				a = send(s, 4)
				s.refusal(a, ferry.CodeTooManyRequests)
				if a.Header.Get("Retry-After") != "1" || len(s.fake.order) != kept {
					t.Errorf("4 with 3 left: Retry-After %q, %d kept", a.Header.Get("Retry-After"), len(s.fake.order)-kept)
				}
				if a := send(s, 3); a.StatusCode >= 300 {
					t.Errorf("3 with 3 left: %d %s", a.StatusCode, a.body)
				}
				// More than the burst fits a full bucket, and is paid off after.
				time.Sleep(10 * time.Second)
				if a := send(s, 25); a.StatusCode >= 300 {
					t.Errorf("25 from a full bucket of 10: %d %s", a.StatusCode, a.body)
				}
				a = send(s, 1)
				s.refusal(a, ferry.CodeTooManyRequests)
				if a.Header.Get("Retry-After") != "16" {
					t.Errorf("after 15 on credit Retry-After is %q", a.Header.Get("Retry-After"))
				}
				time.Sleep(time.Minute)
				s.refusal(send(s, 6), ferry.CodeQuotaExceeded) // 5 are left of 40
				if a := send(s, 5); a.StatusCode >= 300 || a.Header.Get("Ferry-Quota-Remaining") != "0" {
					t.Errorf("the last 5 of the quota: %d %s", a.StatusCode, a.body)
				}
			})
		})
	}
}

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight UTC
		s := newSurface(t, limited(api.Limits{PerKey: perDay(5), Routes: map[string]ferry.Limit{"pings": perDay(3)}}))
		time.Sleep(10 * time.Hour)
		for i := range 3 {
			if a := s.call("any-key", http.MethodPost, toPings, ``); a.StatusCode != http.StatusCreated || a.Header.Get("Ferry-Quota-Remaining") != strconv.Itoa(2-i) || a.Header.Get("Ferry-Quota-Reset") != "50400" {
				t.Fatalf("the %d. message: %d, %s left", i+1, a.StatusCode, a.Header.Get("Ferry-Quota-Remaining"))
			}
		}
		a := s.call("any-key", http.MethodPost, toPings, ``)
		p := s.refusal(a, ferry.CodeQuotaExceeded)
		if a.Header.Get("Retry-After") != "50400" || !strings.Contains(p.Hint, "2000-01-02T00:00:00Z") {
			t.Errorf("Retry-After %q, hint %q", a.Header.Get("Retry-After"), p.Hint)
		}
		// Refused messages and repeats use nothing: two are left of the key's five.
		for range 4 {
			s.refusal(s.call("any-key", http.MethodPost, toOrders, ``), ferry.CodeEmptyBody)
		}
		for i := range 4 {
			want := http.StatusOK
			if i == 0 {
				want = http.StatusCreated
			}
			if a := s.call("any-key", http.MethodPost, toOrders, `{}`, "Idempotency-Key: 1"); a.StatusCode != want {
				t.Fatalf("a repeat: %d", a.StatusCode)
			}
		}
		if a := s.call("any-key", http.MethodPost, toOrders, `{}`); a.StatusCode != http.StatusCreated {
			t.Errorf("the last one: %d", a.StatusCode)
		}
		s.refusal(s.call("any-key", http.MethodPost, toOrders, `{}`), ferry.CodeQuotaExceeded)
		// Every message names the windows that it is counted in.
		for _, h := range s.fake.messages {
			if q := h.msg.Quotas; len(q) == 0 || q[0].Name != "key:k4/24h0m0s" || !q[0].Until.Equal(time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)) ||
				h.msg.Route == "pings" && (len(q) != 2 || q[1].Name != "route:pings/24h0m0s") {
				t.Errorf("counted in %+v", q)
			}
		}
		time.Sleep(14 * time.Hour)
		if a := s.call("any-key", http.MethodPost, toPings, ``); a.StatusCode != http.StatusCreated {
			t.Errorf("the next day: %d", a.StatusCode)
		}
	})
}

func TestQuotaGoesOnAfterARestart(t *testing.T) {
	s := newSurface(t, limited(api.Limits{PerKey: perDay(5)}))
	s.fake.usedBefore = 4
	if a := s.call("any-key", http.MethodPost, toOrders, `{}`); a.StatusCode != http.StatusCreated {
		t.Errorf("the fifth: %d", a.StatusCode)
	}
	s.refusal(s.call("any-key", http.MethodPost, toOrders, `{}`), ferry.CodeQuotaExceeded)
}

// TestQuotaOfParallelSenders: exactly the quota is accepted, whatever is refused,
// repeated or fails meanwhile.
func TestQuotaOfParallelSenders(t *testing.T) {
	f := newFake()
	h := api.New(f, api.Options{Limits: api.Limits{PerKey: perDay(300)}})
	var created atomic.Int64
	var senders sync.WaitGroup
	for i := range 64 {
		senders.Go(func() {
			for j := range 20 {
				r := httptest.NewRequest(http.MethodPost, "http://b"+toOrders, strings.NewReader(`{}`))
				r.Header.Set("Authorization", "Bearer any-key")
				switch j % 4 {
				case 1:
					r = httptest.NewRequest(http.MethodPost, "http://b"+toOrders, http.NoBody) // refused
					r.Header.Set("Authorization", "Bearer any-key")
				case 2:
					r.Header.Set("Idempotency-Key", fmt.Sprint(i, j/8)) // every second one is a repeat
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code == http.StatusCreated {
					created.Add(1)
				}
			}
		})
	}
	senders.Wait()
	if created.Load() != 300 || len(f.order) != 300 {
		t.Errorf("%d answers 201, %d messages kept, the quota is 300", created.Load(), len(f.order))
	}
}

func TestReadsHaveABoundOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurface(t, limited(api.Limits{PerKey: perMinute(60, 1), Reads: ferry.Rate{Calls: 10, Per: time.Minute}}))
		for range 10 {
			if a := s.call("any-key", http.MethodGet, "/v1/messages", ""); a.StatusCode != http.StatusOK {
				t.Fatalf("a read: %d", a.StatusCode)
			}
		}
		a := s.call("any-key", http.MethodGet, "/v1/messages", "")
		s.refusal(a, ferry.CodeTooManyRequests)
		if a.Header.Get("Retry-After") != "6" {
			t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
		}
		if a := s.call("any-key", http.MethodPost, toOrders, `{}`); a.StatusCode != http.StatusCreated {
			t.Errorf("a message after too many reads: %d", a.StatusCode)
		}
		for range 30 { // when something is amiss
			if a := s.call("operator-key", http.MethodGet, "/v1/messages", ""); a.StatusCode != http.StatusOK {
				t.Fatalf("an operator: %d", a.StatusCode)
			}
		}
	})
}

func TestFailedLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurface(t, limited(api.Limits{FailedLogins: ferry.Rate{Calls: 6, Per: time.Minute}}))
		from := func(address, key string) answer {
			r := httptest.NewRequest(http.MethodGet, "http://broker.test/v1/me", http.NoBody)
			r.RemoteAddr = address
			r.Header.Set("Authorization", "Bearer "+key)
			return s.do(r)
		}
		for i := range 6 {
			s.refusal(from(fmt.Sprintf("192.0.2.1:%d", 1000+i), fmt.Sprint("guess-", i)), ferry.CodeUnauthenticated)
		}
		a := from("192.0.2.1:2000", "guess")
		s.refusal(a, ferry.CodeTooManyRequests)
		if a.Header.Get("Retry-After") != "10" || a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("Retry-After %q, WWW-Authenticate %q", a.Header.Get("Retry-After"), a.Header.Get("WWW-Authenticate"))
		}
		// A good key behind the same proxy, and others elsewhere, are not locked out.
		if a := from("192.0.2.1:2001", "any-key"); a.StatusCode != http.StatusOK {
			t.Errorf("a good key at that address: %d", a.StatusCode)
		}
		s.refusal(from("192.0.2.2:2001", "guess"), ferry.CodeUnauthenticated)
		for i := range 6 { // one network of 64 bits is one caller
			s.refusal(from(fmt.Sprintf("[2001:db8::%d]:1", i), "guess"), ferry.CodeUnauthenticated)
		}
		s.refusal(from("[2001:db8::9999]:1", "guess"), ferry.CodeTooManyRequests)
		s.refusal(from("[2001:db8:0:1::1]:1", "guess"), ferry.CodeUnauthenticated)
		time.Sleep(10 * time.Second)
		s.refusal(from("192.0.2.1:2000", "guess"), ferry.CodeUnauthenticated)
	})
}

// TestSurfaceUnder64Senders: through the whole surface, never more than limit × time
// + burst and not less than 0.99 of limit × time, for a key and for a route.
func TestSurfaceUnder64Senders(t *testing.T) {
	for name, l := range map[string]api.Limits{
		"key":   {PerKey: perMinute(600, 0)},
		"route": {Routes: map[string]ferry.Limit{"orders": perMinute(600, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				h := api.New(f, api.Options{Limits: l})
				began, span := time.Now(), 2*time.Minute
				var accepted atomic.Int64
				var senders sync.WaitGroup
				for i := range 64 {
					senders.Go(func() {
						for time.Since(began) < span {
							r := httptest.NewRequest(http.MethodPost, "http://b"+toOrders, strings.NewReader(`{}`))
							r.Header.Set("Authorization", "Bearer any-key")
							w := httptest.NewRecorder()
							h.ServeHTTP(w, r)
							switch w.Code {
							case http.StatusCreated:
								accepted.Add(1)
								time.Sleep(time.Duration(1+i%7) * time.Millisecond)
							case http.StatusTooManyRequests:
								after, err := strconv.Atoi(w.Result().Header.Get("Retry-After"))
								if err != nil || after < 1 {
									t.Errorf("Retry-After %q", w.Result().Header.Get("Retry-After"))
									return
								}
								time.Sleep(time.Duration(after) * time.Second)
							default:
								t.Errorf("status %d", w.Code)
								return
							}
						}
					})
				}
				senders.Wait()
				const rate, burst = 10, 20
				most := rate*span.Seconds() + burst
				if n := float64(accepted.Load()); n > most || n < 0.99*rate*span.Seconds() {
					t.Errorf("%.0f were accepted in %s, want %.0f to %.0f", n, span, 0.99*rate*span.Seconds(), most)
				}
			})
		})
	}
}

func TestKeyWithLimits(t *testing.T) {
	s := newSurface(t)
	a := s.call("admin-key", http.MethodPost, "/v1/keys", `{"name":"flow","role":"sender","limit":{"rate":"600/m","burst":5,"quota":"10000/d"}}`)
	made := read[struct {
		Limit struct {
			Rate, Quota string
			Burst       int
		}
	}](t, a, http.StatusCreated)
	if made.Limit.Rate != "600/m" || made.Limit.Burst != 5 || made.Limit.Quota != "10000/d" {
		t.Errorf("made with %+v", made.Limit)
	}
	for body, code := range map[string]ferry.Code{
		`{"limit":{"burst":5}}`: ferry.CodeInvalid, `{"limit":{"rate":"x"}}`: ferry.CodeBadDuration, `{}`: ferry.CodeInvalid,
	} {
		s.refusal(s.call("admin-key", http.MethodPost, "/v1/keys/k9/edit", body), code)
	}
	if a := s.call("admin-key", http.MethodPost, "/v1/keys/k9/edit", `{"limit":{}}`); a.StatusCode != http.StatusOK {
		t.Errorf("a limit is taken away: %d %s", a.StatusCode, a.body)
	}
	for body, code := range map[string]ferry.Code{
		`{"name":"flow","role":"sender","limit":{"rate":"600"}}`:                ferry.CodeBadDuration,
		`{"name":"flow","role":"sender","limit":{"burst":5}}`:                   ferry.CodeInvalid,
		`{"name":"flow","role":"sender","limit":{"quota":"5/m"}}`:               ferry.CodeInvalid,
		`{"name":"flow","role":"sender","limit":{"rate":"1/s","burst":-1}}`:     ferry.CodeInvalid,
		`{"name":"flow","role":"sender","limit":{"rate":"1/s","period":"day"}}`: ferry.CodeBadRequest,
	} {
		s.refusal(s.call("admin-key", http.MethodPost, "/v1/keys", body), code)
	}
}

// TestEverySendIsCounted: no way in passes the limits by.
func TestEverySendIsCounted(t *testing.T) {
	s := newSurface(t, limited(api.Limits{PerKey: perMinute(600, 100)}))
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", http.NoBody))
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	sends := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if !strings.HasPrefix(op.OperationID, "send") {
				continue
			}
			sends++
			r := httptest.NewRequest(strings.ToUpper(method), "http://b"+strings.NewReplacer("{route}", "orders", "{version}", "v1").Replace(path), strings.NewReader("{}"))
			r.Header.Set("Authorization", "Bearer any-key")
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			if w.Result().Header.Get("RateLimit-Limit") != "600" {
				t.Errorf("%s is not counted: its endpoint lacks sends", op.OperationID)
			}
		}
	}
	if sends < 4 {
		t.Errorf("%d calls send", sends)
	}
}
