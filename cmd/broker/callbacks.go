package main

import (
	"strconv"
	"time"

	"ferry"
)

type callbacksCmd struct {
	List   callbacksListCmd   `cmd:"" help:"Subscriptions, and what waits to be told to whom."`
	Retry  callbacksRetryCmd  `cmd:"" help:"Try what waits now, or tell the end of a message once more."`
	Remove callbacksRemoveCmd `cmd:"" help:"End a subscription."`
	Rotate callbacksRotateCmd `cmd:"" help:"Give a subscription another secret; the old one signs as well for a time."`
	Secret callbacksSecretCmd `cmd:"" help:"The secret of the callbacks that this key's messages ask for; or another one."`
}

type callbacksListCmd struct{}

// callbackRow is one line: a subscription, or an address that messages asked for.
type callbackRow struct {
	ID       string         `json:"id,omitempty"` // of a subscription
	Tells    string         `json:"tells"`
	Route    string         `json:"route,omitempty"`
	Callback string         `json:"callback"`
	Key      string         `json:"key,omitempty"`
	State    string         `json:"state"`
	Waiting  int            `json:"waiting"`
	Failing  *ferry.Failing `json:"failing,omitempty"`
	Why      string         `json:"why,omitempty"`
}

// Run lists subscriptions and what waits.
func (callbacksListCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	subscriptions, err := c.Subscriptions(a.ctx)
	if err != nil {
		return err
	}
	targets, err := c.Callbacks(a.ctx)
	if err != nil {
		return err
	}
	var rows []callbackRow
	for _, s := range subscriptions {
		row := callbackRow{
			ID: s.ID.String(), Tells: string(s.Event), Route: s.Route, Callback: s.Callback, Key: s.KeyName,
			State: string(s.State), Waiting: s.Waiting, Failing: s.Failing, Why: s.DroppedWhy,
		}
		if s.Failing != nil {
			row.Why = s.Failing.Why
		}
		rows = append(rows, row)
	}
	told, err := c.Operating(a.ctx)
	if err != nil && ferry.CodeOf(err) != ferry.CodeNotFound { // a broker of before
		return err
	}
	for _, t := range told.Targets {
		row := callbackRow{ID: t.Name, Tells: "operators", Callback: t.Callback, State: string(ferry.SubscriptionActive), Waiting: t.Waiting, Failing: t.Failing}
		if t.Failing != nil {
			row.Why = t.Failing.Why
		}
		rows = append(rows, row)
	}
	for _, t := range targets {
		if t.Kind == ferry.ReplySubscription || t.Kind == ferry.ReplyOperator {
			continue // listed above
		}
		row := callbackRow{Tells: "a message's end", Route: t.Route, Callback: t.Callback, State: "waiting", Waiting: t.Waiting, Failing: t.Failing}
		if t.Failing != nil {
			row.Why = t.Failing.Why
		}
		rows = append(rows, row)
	}
	p, now := a.paint(), a.now()
	return writeList(a, rows, "no subscriptions, and nothing waits to be told",
		[]column{left("ID"), left("TELLS"), left("ROUTE"), left("TO"), left("KEY"), left("STATE"), right("WAITING"), long("WHY")},
		func(r callbackRow) []any {
			return []any{orDash(r.ID), r.Tells, orAllRoutes(r.Route), r.Callback, orDash(r.Key), callbackState(p, now, r), strconv.Itoa(r.Waiting), r.Why}
		})
}

func orAllRoutes(route string) string {
	if route == "" {
		return "all"
	}
	return route
}

func callbackState(p paint, now time.Time, r callbackRow) cell {
	switch {
	case r.Failing != nil:
		return cell{"fails since " + age(now, r.Failing.Since), p.red}
	case r.State == string(ferry.SubscriptionActive):
		return cell{r.State, p.green}
	default:
		return cell{r.State, p.yellow}
	}
}

type callbacksRetryCmd struct {
	To      string `arg:"" optional:"" help:"A target as the list shows it under TO, or a subscription's id."`
	Message string `placeholder:"ID" help:"Tell the end of this message once more, to all who are told."`
	All     bool   `help:"Everything that waits."`
}

// Run has callbacks tried.
func (k callbacksRetryCmd) Run(a *app) error {
	given := 0
	for _, is := range []bool{k.To != "", k.Message != "", k.All} {
		if is {
			given++
		}
	}
	if given != 1 {
		return usagef("say what to try: TO, --message ID or --all")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	req := ferry.RetryRequest{Callback: k.To, All: k.All}
	if k.Message != "" {
		e, err := c.Message(a.ctx, k.Message) // a suffix is enough
		if err != nil {
			return err
		}
		req.Message = e.ID
	}
	out, err := c.RetryCallbacks(a.ctx, req)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(out)
	}
	if k.Message != "" {
		a.printf("the end is told once more to %d\n", out.Told)
		return nil
	}
	a.printf("tried now: %d that had failed\n", out.Targets)
	return nil
}

type callbacksRemoveCmd struct {
	ID string `arg:"" help:"The subscription's id, from broker callbacks list, or its end."`
}

// Run ends a subscription.
func (k callbacksRemoveCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := c.Unsubscribe(a.ctx, k.ID); err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(struct {
			ID string `json:"id"`
		}{k.ID})
	}
	a.printf("the subscription %s has ended\n", k.ID)
	return nil
}

type callbacksRotateCmd struct {
	ID   string `arg:"" help:"The subscription's id, from broker callbacks list, or its end."`
	Keep string `placeholder:"DURATION" help:"For how long the old secret signs as well (24h), such as 0s or 7d."`
	Out  string `placeholder:"FILE" help:"Write the secret here, readable by you only; the file must not exist."`
}

// Run gives a subscription another secret.
func (k callbacksRotateCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var made ferry.NewSubscription
	err = a.handOver(k.Out, func() (string, error) {
		made, err = c.RotateSubscription(a.ctx, k.ID, k.Keep)
		return made.Secret, err
	})
	if err != nil {
		return err
	}
	a.remark("the subscription %s to %s has another secret%s", made.ID, made.Callback, alsoUntil(made.OldSecretUntil))
	return a.showSecret(k.Out, made.Secret)
}

type callbacksSecretCmd struct {
	Rotate bool   `help:"Make another one."`
	Target string `placeholder:"NAME" help:"The secret of the events that this target of operators.notify is told."`
	Keep   string `placeholder:"DURATION" help:"With --rotate: for how long the old secret signs as well (24h)."`
	Out    string `placeholder:"FILE" help:"Write the secret here, readable by you only; the file must not exist."`
}

// Run shows the secret, or makes another.
func (k callbacksSecretCmd) Run(a *app) error {
	if k.Keep != "" && !k.Rotate {
		return usagef("--keep is for --rotate")
	}
	if k.Target != "" && k.Rotate {
		return usagef("the secret of a target is not rotated: give the target another name")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	var secret ferry.CallbackSecret
	err = a.handOver(k.Out, func() (string, error) {
		if k.Target != "" {
			secret, err = c.OperatorSecret(a.ctx, k.Target)
		} else if k.Rotate {
			secret, err = c.RotateCallbackSecret(a.ctx, k.Keep)
		} else {
			secret, err = c.CallbackSecret(a.ctx)
		}
		return secret.Secret, err
	})
	if err != nil {
		return err
	}
	if k.Target != "" {
		a.remark("events that %s is told are signed with it", k.Target)
		return a.showSecret(k.Out, secret.Secret)
	}
	a.remark("callbacks that messages of the key %s ask for are signed with it%s", secret.KeyID, alsoUntil(secret.OldUntil))
	return a.showSecret(k.Out, secret.Secret)
}

func alsoUntil(old *time.Time) string {
	if old == nil {
		return ""
	}
	return ", and with the one before until " + moment(*old)
}

// showSecret prints a secret, unless a file got it.
func (a *app) showSecret(file, secret string) error {
	if file != "" {
		a.remark("it lies in %s", file)
		return nil
	}
	if a.json() {
		return a.writeJSON(struct {
			Secret string `json:"secret"`
		}{secret})
	}
	a.printf("%s\n", secret)
	return nil
}
