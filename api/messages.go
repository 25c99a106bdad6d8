package api

import (
	"net/http"

	"ferry"
)

func (c *call) getMessage() error {
	e, err := c.envelope()
	if err != nil {
		return err
	}
	c.complete(&e)
	return c.answerEnvelope(http.StatusOK, &e)
}

func (c *call) listMessages() error {
	f := ferry.MessageFilter{
		Route: c.q("route"), State: ferry.State(c.q("state")), Sender: c.q("sender"), Flow: c.q("flow"), Q: c.q("q"), Cursor: c.q("cursor"),
	}
	if f.State != "" && !f.State.Valid() {
		return badValue("state", string(f.State), ferry.States())
	}
	if err := c.checkRouteFilter(f.Route); err != nil {
		return err
	}
	if c.who.Role == ferry.RoleSender && len(c.who.Routes) > 0 {
		f.Routes = c.who.Routes
	}
	var err error
	if f.Since, err = c.moment("since"); err != nil {
		return err
	}
	if f.Until, err = c.moment("until"); err != nil {
		return err
	}
	if f.Limit, err = c.limit(); err != nil {
		return err
	}
	page, err := c.api.svc.Messages(c.ctx(), f)
	return c.page(page, err)
}

func (c *call) page(p ferry.Page, err error) error {
	if err != nil {
		return err
	}
	for i := range p.Items {
		c.complete(&p.Items[i])
	}
	return c.json(http.StatusOK, p)
}

// checkRouteFilter refuses a route that the key may not see or that does not
// exist: an empty list would read as "no messages".
func (c *call) checkRouteFilter(name string) error {
	if name == "" {
		return nil
	}
	if !c.who.MaySee(name) {
		return ferry.Errorf(ferry.CodeForbidden, "this key may not use the route %q", clip(name))
	}
	if _, ok := c.api.svc.Route(name); !ok {
		return noRoute(name)
	}
	c.route = name
	return nil
}

func badValue[T ~string](name, value string, known []T) error {
	list := ""
	for i, k := range known {
		if i > 0 {
			list += ", "
		}
		list += string(k)
	}
	return ferry.Errorf(ferry.CodeBadFilter, "%s=%q means nothing", name, clip(value)).WithHint("one of %s", list)
}
