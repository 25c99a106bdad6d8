package api

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"ferry"
	"ferry/ratelimit"
)

// Limits bound what callers may do; the zero Limits bound nothing but failed
// logins.
type Limits struct {
	PerKey ferry.Limit // of each key that has none of its own
	Reads  ferry.Rate  // of each sender's and receiver's calls that send nothing
	// Routes are the limits of routes, all their senders together, by name.
	Routes map[string]ferry.Limit
	// FailedLogins is how many requests of one address may fail for their key;
	// beyond it they are told to wait. Zero: 120 a minute.
	FailedLogins ferry.Rate
}

// Quotas knows what was used of quotas before this start.
type Quotas interface {
	// QuotaUsed is how many accepted messages were counted in the window of a quota
	// that ends at until and is per long, or in the one after it.
	QuotaUsed(name string, until time.Time, per time.Duration) (int64, error)
}

// maxTracked bounds the keys, and the addresses, whose rates are remembered.
const maxTracked = 50_000

// guard holds callers to their limits.
type guard struct {
	began     time.Time
	limits    Limits
	reads     ratelimit.Spec
	failures  ratelimit.Spec
	keys      *ratelimit.Table
	readers   *ratelimit.Table
	addresses *ratelimit.Table
	routes    map[string]*ratelimit.Bucket
	quotas    *ratelimit.Quotas
}

func newGuard(l Limits, svc Quotas) *guard {
	if l.FailedLogins.IsZero() {
		l.FailedLogins = ferry.Rate{Calls: 120, Per: time.Minute}
	}
	g := &guard{
		began: time.Now(), limits: l,
		reads: ratelimit.NewSpec(ferry.Limit{Rate: l.Reads}),
		// All of them at once: a proxy's address stands for many.
		failures: ratelimit.NewSpec(ferry.Limit{Rate: l.FailedLogins, Burst: l.FailedLogins.Calls}),
		keys:     ratelimit.NewTable(maxTracked), readers: ratelimit.NewTable(maxTracked), addresses: ratelimit.NewTable(maxTracked),
		routes: map[string]*ratelimit.Bucket{},
		quotas: ratelimit.NewQuotas(func(name string, until time.Time, per time.Duration) (int64, error) {
			return svc.QuotaUsed(name, until, per)
		}),
	}
	for name := range l.Routes {
		g.routes[name] = &ratelimit.Bucket{}
	}
	return g
}

// share is what a request has of one limit.
type share struct {
	limit  ferry.Limit
	spec   ratelimit.Spec
	whose  string // for sentences
	bucket *ratelimit.Bucket
	quota  string // the quota's name; empty: none

	rate  ratelimit.Answer
	left  int64 // of the quota
	until time.Time
	held  int // of the quota
}

// shares are the limits that hold for a request that sends: its key's and its
// route's.
type shares struct {
	of   [2]share
	n    int
	sent int // messages that were charged
	used int // of them, accepted and new
}

// admit asks whether the caller may call now. A request that sends is counted as
// one message; a batch is charged when it is known how many they are.
func (c *call) admit() error {
	g := c.api.guard
	if !c.ep.sends {
		return g.read(c)
	}
	s := g.sharesOf(c)
	if s.n == 0 {
		return nil
	}
	c.shares = &s
	return c.charge(1)
}

// read counts a call that sends nothing. Operators are let in: they come when
// something is amiss.
func (g *guard) read(c *call) error {
	if g.reads.IsZero() || c.who.Role != ferry.RoleSender && c.who.Role != ferry.RoleReceiver {
		return nil
	}
	now := c.start.Sub(g.began)
	a := g.readers.Bucket(callerOf(&c.who), now).Take(g.reads, now, 1)
	if a.OK {
		return nil
	}
	rateHeaders(c.w.Header(), g.limits.Reads, a)
	err := ferry.Errorf(ferry.CodeTooManyRequests, "this key asks more often than %s", g.limits.Reads).
		WithHint("ask again after the time in Retry-After; limits.perKey.reads in broker.yaml is the bound")
	err.After = a.After
	return err
}

// callerOf names whom limits are counted for.
func callerOf(who *ferry.Identity) string {
	if who.KeyID != "" {
		return who.KeyID
	}
	return who.Name // a SAS policy
}

func (g *guard) sharesOf(c *call) (s shares) {
	limit := c.who.Limit
	if limit.IsZero() {
		limit = g.limits.PerKey
	}
	now := c.start.Sub(g.began)
	if !limit.IsZero() {
		caller := callerOf(&c.who)
		one := share{limit: limit, spec: ratelimit.NewSpec(limit), whose: "this key"}
		if !one.spec.IsZero() {
			one.bucket = g.keys.Bucket(caller, now)
		}
		if !limit.Quota.IsZero() {
			one.quota = "key:" + caller + "/" + limit.Quota.Per.String()
		}
		s.of[s.n] = one
		s.n++
	}
	name := c.r.PathValue("route")
	if limit, ok := g.limits.Routes[name]; ok && !limit.IsZero() && c.who.MaySee(name) {
		c.route = name // a refusal counts as the route's
		one := share{limit: limit, spec: ratelimit.NewSpec(limit), whose: "the route", bucket: g.routes[name]}
		if !limit.Quota.IsZero() {
			one.quota = "route:" + name + "/" + limit.Quota.Per.String()
		}
		s.of[s.n] = one
		s.n++
	}
	return s
}

// charge counts the request as n messages, all or none, in every limit that holds:
// first as one, and once more where it turns out to carry several. A request that
// is refused by a limit costs nothing; one that is refused later has been counted
// in the rates, and not in the quotas.
func (c *call) charge(n int) error {
	if c.shares == nil || n == c.shares.sent {
		return nil
	}
	// The whole at once: a batch larger than the burst fits a full bucket only.
	c.giveRates(c.shares.n, c.shares.sent)
	more := n - c.shares.sent
	c.shares.sent = 0
	err := c.chargeRates(n)
	if err == nil {
		if err = c.chargeQuotas(more); err != nil {
			c.giveRates(c.shares.n, n)
		} else {
			c.shares.sent = n
		}
	}
	c.shares.headers(c.w.Header(), c.start)
	return err
}

func (c *call) chargeRates(n int) error {
	g := c.api.guard
	now := time.Since(g.began)
	for i := range c.shares.n {
		s := &c.shares.of[i]
		if s.spec.IsZero() {
			continue
		}
		if s.rate = s.bucket.Take(s.spec, now, n); s.rate.OK {
			continue
		}
		c.giveRates(i, n)
		err := ferry.Errorf(ferry.CodeTooManyRequests, "%s has a limit of %s, with %d at once", s.whose, s.limit.Rate, s.limit.BurstOr())
		err.After = s.rate.After
		return err.WithHint("send again after the time in Retry-After; RateLimit-Remaining tells how many may come at once")
	}
	return nil
}

func (c *call) giveRates(shares, n int) {
	for i := range shares {
		if s := &c.shares.of[i]; !s.spec.IsZero() {
			s.bucket.Give(s.spec, n)
		}
	}
}

func (c *call) chargeQuotas(n int) error {
	for i := range c.shares.n {
		s := &c.shares.of[i]
		if s.quota == "" {
			continue
		}
		a, err := c.api.guard.quotas.Reserve(s.quota, s.limit.Quota, c.start, n)
		if err != nil {
			return err
		}
		s.left, s.until = a.Left, a.Until
		if a.OK {
			s.held += n
			continue
		}
		for j := range i { // what was reserved just now
			if o := &c.shares.of[j]; o.quota != "" {
				c.api.guard.quotas.Settle(o.quota, o.until, n, 0)
				o.held -= n
				o.left += int64(n)
			}
		}
		fault := ferry.Errorf(ferry.CodeQuotaExceeded, "%s has %d left of its quota of %s", s.whose, a.Left, s.limit.Quota).
			WithHint("the next window begins at %s", a.Until.Format(time.RFC3339))
		fault.After = a.Until.Sub(c.start)
		return fault
	}
	return nil
}

// uses are the quotas that each message of the request is counted in.
func (c *call) uses() []ferry.QuotaUse {
	if c.shares == nil {
		return nil
	}
	var uses []ferry.QuotaUse
	for i := range c.shares.n {
		if s := &c.shares.of[i]; s.quota != "" {
			uses = append(uses, ferry.QuotaUse{Name: s.quota, Until: s.until, Per: s.limit.Quota.Per})
		}
	}
	return uses
}

// took notes what became of a message: repeats use nothing of a quota.
func (c *call) took(a *ferry.Accepted) {
	if c.shares != nil && !a.Duplicate && a.Revision == 0 && !a.ID.IsZero() {
		c.shares.used++
	}
}

// settle gives back what of the quotas was not used.
func (c *call) settle() {
	if c.shares == nil {
		return
	}
	for i := range c.shares.n {
		if s := &c.shares.of[i]; s.held > 0 {
			c.api.guard.quotas.Settle(s.quota, s.until, s.held, min(c.shares.used, s.held))
			s.held = 0
		}
	}
}

// headers tell what is left, each of the limit that is nearest to its end.
func (s *shares) headers(h http.Header, now time.Time) {
	var rate, quota *share
	for i := range s.n {
		one := &s.of[i]
		if !one.spec.IsZero() && (rate == nil || one.rate.Left < rate.rate.Left || !one.rate.OK) {
			rate = one
		}
		if one.quota != "" && !one.until.IsZero() && (quota == nil || one.left < quota.left) {
			quota = one
		}
	}
	if rate != nil {
		rateHeaders(h, rate.limit.Rate, rate.rate)
	}
	if quota != nil {
		h["Ferry-Quota-Remaining"] = []string{strconv.FormatInt(quota.left, 10)}
		h["Ferry-Quota-Reset"] = []string{strconv.Itoa(wholeSeconds(quota.until.Sub(now)))}
	}
}

// rateHeaders are those of draft-ietf-httpapi-ratelimit-headers up to its version
// 6: plain numbers, which the expressions of a flow can read.
func rateHeaders(h http.Header, rate ferry.Rate, a ratelimit.Answer) {
	calls := strconv.Itoa(rate.Calls)
	h["Ratelimit-Limit"] = []string{calls}
	h["Ratelimit-Policy"] = []string{calls + ";w=" + strconv.Itoa(int(rate.Per/time.Second))}
	h["Ratelimit-Remaining"] = []string{strconv.Itoa(a.Left)}
	h["Ratelimit-Reset"] = []string{strconv.Itoa(wholeSeconds(a.Reset))}
}

// failed counts a request whose key was not taken, and says what it is answered:
// beyond the bound of its address to wait. A good key is never asked how others at
// its address fared: behind a proxy all have one.
func (g *guard) failed(c *call, why *ferry.Error) *ferry.Error {
	now := time.Since(g.began)
	a := g.addresses.Bucket(addressOf(c.r.RemoteAddr), now).Take(g.failures, now, 1)
	if a.OK {
		return why
	}
	err := ferry.Errorf(ferry.CodeTooManyRequests, "too many requests from this address came without a good key").
		WithHint("send a good key, which is let in at once; broker keys list tells which have ended")
	err.After = a.After
	return err
}

// addressOf is whom an address is counted as: an IPv6 network of 64 bits is one
// caller.
func addressOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Unmap().Is4() {
		return host
	}
	network, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}
