package api

import (
	"net/http"
	"slices"
	"strconv"

	"ferry"
)

// Me is whom the broker takes the caller for.
type Me struct {
	ferry.Identity
	Environment string `json:"environment,omitempty"`
	Version     string `json:"version"`
}

func (c *call) me() error {
	return c.json(http.StatusOK, Me{Identity: c.who, Environment: c.api.opts.Environment, Version: c.api.opts.Version})
}

func (c *call) brokerStatus() error {
	s, err := c.api.svc.Status(c.ctx())
	return answer(c, http.StatusOK, s, err)
}

// listRoutes shows a sender its own routes only.
func (c *call) listRoutes() error {
	list, err := c.api.svc.RouteInfos(c.ctx())
	list = slices.DeleteFunc(slices.Clone(list), func(r ferry.RouteInfo) bool { return !c.who.MaySee(r.Name) })
	return items(c, list, err)
}

// PauseRequest stops the deliveries of a route.
type PauseRequest struct {
	Note  string `json:"note,omitempty" doc:"why; kept in the audit, at most 1024 bytes"`
	Until string `json:"until,omitempty" doc:"RFC 3339 with an offset; absent: until somebody resumes"`
}

func (c *call) pauseRoute() error {
	route, err := c.knownRoute()
	if err != nil {
		return err
	}
	var in PauseRequest
	if err := c.decode(&in, maxCommand, true); err != nil {
		return err
	}
	if err := checkNote(in.Note, false); err != nil {
		return err
	}
	until, err := c.future("until", in.Until)
	if err != nil {
		return err
	}
	info, err := c.api.svc.Pause(c.ctx(), route.Name, in.Note, until, c.who.Name)
	return answer(c, http.StatusOK, info, err)
}

func (c *call) resumeRoute() error {
	route, err := c.knownRoute()
	if err != nil {
		return err
	}
	note, err := c.note(false)
	if err != nil {
		return err
	}
	info, err := c.api.svc.Resume(c.ctx(), route.Name, note, c.who.Name)
	return answer(c, http.StatusOK, info, err)
}

// BindRequest names the worker whose inbox may deliver a route from now on.
type BindRequest struct {
	Worker string `json:"worker"`
	Gone   bool   `json:"gone,omitempty" doc:"whoever had the route before is off or wiped and can call no more: nothing waits for it; wants a note"`
	Note   string `json:"note,omitempty" doc:"why; kept in the audit, at most 1024 bytes"`
}

func (c *call) bindRoute() error {
	route, err := c.knownRoute()
	if err != nil {
		return err
	}
	var in BindRequest
	if err := c.decode(&in, maxCommand, false); err != nil {
		return err
	}
	if err := checkNote(in.Note, in.Gone); err != nil {
		return err
	}
	if fault := ferry.ValidName("worker", in.Worker); fault != nil {
		return fault
	}
	info, err := c.api.svc.BindRoute(c.ctx(), route.Name, in.Worker, in.Gone, in.Note, c.who.Name)
	return answer(c, http.StatusOK, info, err)
}

func (c *call) reconcile() error {
	list, err := c.api.svc.Reconcile(c.ctx())
	return items(c, list, err)
}

func (c *call) listAudit() error {
	var after uint64
	if v := c.q("after"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return ferry.Errorf(ferry.CodeBadFilter, "after=%q is not the number of an entry", clip(v))
		}
		after = n
	}
	since, err := c.moment("since")
	if err != nil {
		return err
	}
	limit, err := c.limit()
	if err != nil {
		return err
	}
	list, err := c.api.svc.Audit(c.ctx(), after, since, limit)
	return items(c, list, err)
}

// Health is the answer of the two probes.
type Health struct {
	Status string `json:"status"`
}

// health says that the process answers, and nothing else.
func (c *call) health() error { return c.json(http.StatusOK, Health{Status: "ok"}) }

// ready says whether messages can be accepted. Whatever is in the way, the answer
// is 503, which is what takes a broker out of a balancer; the cause of an error
// that is not for callers goes to the log alone.
func (c *call) ready() error {
	if err := c.api.svc.Ready(c.ctx()); err != nil {
		if Status(ferry.CodeOf(err)) >= http.StatusInternalServerError && retryAfter(ferry.CodeOf(err)) == 0 {
			c.api.log.Warn("the broker is not ready", "requestId", c.id, "error", errorChain(err))
			return ferry.Errorf(ferry.CodeLedgerUnavailable, "the broker is not ready")
		}
		return err
	}
	return c.json(http.StatusOK, Health{Status: "ready"})
}

// metrics needs an operator's key, or a scraper on this machine.
func (c *call) metrics() error {
	if c.api.opts.Metrics == nil {
		return ferry.Errorf(ferry.CodeNotFound, "this broker serves no metrics")
	}
	if !loopback(c.r) {
		c.query = c.r.URL.Query()
		if err := c.require(operators); err != nil {
			return err
		}
	}
	c.wrote, c.status = true, http.StatusOK
	c.api.opts.Metrics.ServeHTTP(c.w, c.r)
	return nil
}

func (c *call) openAPI() error {
	doc, err := c.api.openapi()
	if err != nil {
		return err
	}
	c.w.Header()["Content-Type"] = jsonType
	c.write(http.StatusOK, doc)
	return nil
}
