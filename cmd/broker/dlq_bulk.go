package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"ferry"
	"ferry/client"
)

// bulkFlags are what acts on many dead letters take, so that nobody touches
// more than they mean to.
type bulkFlags struct {
	All    bool `help:"All dead letters, without a filter."`
	DryRun bool `help:"Only show how many, per route and reason."`
	Yes    bool `help:"Do not ask; a filter, or --all, also wants --expect."`
	Expect *int `placeholder:"N" help:"Do nothing unless the filter selects exactly so many."`
}

// replayFlags are what a bulk replay takes, to be gentle and careful.
type replayFlags struct {
	Canary int    `placeholder:"N" help:"Send N first, some of each group, and the rest of a group only if none of its own failed as before."`
	Rate   string `placeholder:"N/s" help:"Send at most so many in a time: 50/s, 600/m."`
}

// bulk is one act on one, several or many dead letters.
type bulk struct {
	act            string // replay, discard or restore
	ids            []string
	flags          bulkFlags
	includeUnknown bool
	note           string
	replay         replayFlags
	operation      string // restore: what this operation discarded
}

// run acts on the single id directly with one, else starts an operation.
func (b bulk) run(a *app, flags dlqFilter, one func(*client.Client, ferry.Envelope) (ferry.Envelope, error)) error {
	filter, err := flags.filter(a)
	if err != nil {
		return err
	}
	if err := b.check(a, flags); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	rate, err := b.rate()
	if err != nil {
		return err
	}
	if len(b.ids) == 1 && !b.flags.DryRun {
		e, err := a.find(c, b.ids[0])
		if err != nil {
			return err
		}
		e, err = one(c, e)
		return a.writeActed(b.past(), e, err)
	}
	request := ferry.BulkRequest{
		Filter: filter, All: b.flags.All, IncludeUnknown: b.includeUnknown, Expect: b.flags.Expect, Note: b.note,
		Canary: b.replay.Canary, Rate: rate, Operation: b.operation,
	}
	if request.IDs, err = b.resolve(a, c); err != nil {
		return err
	}
	return b.many(a, c, request)
}

// check refuses what leaves open which dead letters are meant, before anything
// is asked of the broker.
func (b bulk) check(a *app, flags dlqFilter) error {
	byID, byFilter := len(b.ids) > 0, flags.selects()
	switch {
	case b.operation != "" && (byID || byFilter || b.flags.All || flags.Limit > 0):
		return usagef("--operation goes with no ids and no filter").withHint("it takes back what that operation discarded")
	case b.replay.Canary < 0 || b.replay.Canary > ferry.MaxCanary:
		return usagef("--canary %d is out of range", b.replay.Canary).withHint("from 1 to %d", ferry.MaxCanary)
	case byID && len(b.ids) == 1 && (b.replay.Canary > 0 || b.replay.Rate != ""):
		return usagef("--canary and --rate are for many")
	case !byID && !byFilter && !b.flags.All && b.operation == "":
		return usagef("which dead letters?").
			withHint("name ids or a filter such as --route or --reason; --all means every one")
	case byID && (byFilter || b.flags.All || flags.Limit > 0):
		return usagef("ids and filters do not go together")
	case byFilter && b.flags.All:
		return usagef("--all and filters do not go together")
	case b.flags.Expect != nil && *b.flags.Expect < 0:
		return usagef("--expect %d is no count", *b.flags.Expect)
	case byID || b.flags.DryRun:
		return nil
	case b.flags.Yes != (b.flags.Expect != nil):
		return usagef("--yes and --expect N go together").withHint("--dry-run shows how many there are")
	case !b.flags.Yes && !a.asks:
		return usagef("nobody can be asked here").withHint("--dry-run shows how many there are; --yes --expect N %ss them", b.act)
	}
	return nil
}

func (b bulk) rate() (ferry.Rate, error) {
	if b.replay.Rate == "" {
		return ferry.Rate{}, nil
	}
	rate, err := ferry.ParseRate(b.replay.Rate)
	if err != nil {
		return rate, usagef("--rate %q is no rate", b.replay.Rate).withHint("such as 50/s or 600/m")
	}
	return rate, nil
}

// noun is what the act is on.
func (b bulk) noun() string {
	if b.act == "restore" {
		return "discarded message"
	}
	return "dead letter"
}

func (b bulk) resolve(a *app, c *client.Client) ([]ferry.ID, error) {
	var ids []ferry.ID
	for _, given := range b.ids {
		e, err := a.find(c, given)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", given, err)
		}
		if !slices.Contains(ids, e.ID) {
			ids = append(ids, e.ID)
		}
	}
	return ids, nil
}

func (b bulk) many(a *app, c *client.Client, request ferry.BulkRequest) error {
	if b.flags.DryRun {
		request.DryRun = true
		plan, err := c.Bulk(a.ctx, b.act, request)
		if err != nil {
			return err
		}
		if a.json() {
			return a.writeJSON(plan)
		}
		return b.show(a, a, plan)
	}
	asked, err := b.mustAsk(a, c, request)
	if err != nil {
		return err
	}
	if asked {
		count, err := b.ask(a, c, request)
		if err != nil || count == 0 {
			return err
		}
		if request.Expect == nil {
			request.Expect = &count
		}
	}
	answer, err := c.Bulk(a.ctx, b.act, request)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(answer)
	}
	if answer.LeftOut > 0 && !asked {
		a.remark("%s", b.leftOut(answer.LeftOut))
	}
	if request.IDs != nil && !asked && b.risky(answer) {
		a.remark("%s", a.paint().yellow("careful: "+riskOf(answer.MayExist)))
	}
	if answer.OperationID == "" {
		a.printf("no %ss to %s\n", b.noun(), b.act)
		return nil
	}
	a.printf("operation %s %ss %s\n", answer.OperationID, b.act, count(answer.Count, b.noun()))
	a.remark("next: broker operations watch %s", answer.OperationID)
	return nil
}

// mustAsk says whether a person is to be asked first: of a filter unless --yes is given,
// and of ids when a document of theirs may exist already, as of a single one.
func (b bulk) mustAsk(a *app, c *client.Client, request ferry.BulkRequest) (bool, error) {
	switch {
	case b.flags.Yes:
		return false, nil
	case request.IDs == nil:
		return true, nil
	case b.act != "replay" || b.includeUnknown:
		return false, nil
	}
	request.DryRun = true
	plan, err := c.Bulk(a.ctx, b.act, request)
	if err != nil || !b.risky(plan) || a.asks {
		return err == nil && b.risky(plan), err
	}
	return false, usagef("%d of %s may already exist at the destination", plan.MayExist, count(plan.Count, b.noun())).
		withHint("look there first; then --include-unknown sends them again, or `broker dlq accept` says of each that it is there")
}

// risky says whether sending again may make a second document of something.
func (b bulk) risky(plan ferry.BulkAnswer) bool { return b.act == "replay" && plan.MayExist > 0 }

func riskOf(n int) string { return fmt.Sprintf("%d may already exist at the destination", n) }

// ask shows what would be touched and has the number typed back.
func (b bulk) ask(a *app, c *client.Client, request ferry.BulkRequest) (int, error) {
	me, err := c.Me(a.ctx)
	if err != nil {
		return 0, err
	}
	request.DryRun = true
	plan, err := c.Bulk(a.ctx, b.act, request)
	if err != nil {
		return 0, err
	}
	beside := *a // the plan goes to stderr: stdout is for what was done
	beside.stdout = &output{to: a.stderr}
	if err := b.show(a, &beside, plan); err != nil || plan.Count == 0 {
		return 0, err
	}
	answer, err := a.ask("%s %s%s: type the number to go on:", b.act, count(plan.Count, b.noun()), inEnvironment(me.Environment))
	if err != nil {
		return 0, err
	}
	if answer != strconv.Itoa(plan.Count) {
		return 0, errNotConfirmed
	}
	return plan.Count, nil
}

// show prints how many per route and reason, and the risk.
func (b bulk) show(a, to *app, plan ferry.BulkAnswer) error {
	p := a.paint()
	if plan.Count > 0 {
		t := newTable(left("ROUTE"), left("REASON"), right("COUNT"))
		for _, route := range sortedKeys(plan.ByRoute) {
			reasons := plan.ByRoute[route]
			for _, reason := range append(ferry.Reasons(), "") { // the last: discarded while it waited
				if n := reasons[reason]; n > 0 {
					t.add(route, cell{orDash(string(reason)), func(string) string { return p.reason(reason) }}, strconv.Itoa(n))
				}
			}
		}
		if err := t.write(to.stdout, to.screen, p); err != nil {
			return err
		}
	} else {
		to.printf("no %ss to %s\n", b.noun(), b.act)
	}
	b.showHow(to, plan)
	if b.risky(plan) {
		to.printf("%s\n", p.yellow(riskOf(plan.MayExist)))
	}
	if plan.LeftOut > 0 {
		to.printf("%s\n", b.leftOut(plan.LeftOut))
	}
	if plan.Gone > 0 {
		to.printf("%d are not discarded any more, or gone with their retention\n", plan.Gone)
	}
	return nil
}

// showHow says how a replay would go about it.
func (b bulk) showHow(to *app, plan ferry.BulkAnswer) {
	if n := min(b.replay.Canary, plan.Count); n > 0 {
		to.printf("%d first, of %s; the rest of a group when its own came through\n", n, count(plan.Groups, "group"))
	}
	if rate, err := b.rate(); err == nil && !rate.IsZero() && plan.Count > 0 {
		least := time.Duration(float64(plan.Count) / rate.PerSecond() * float64(time.Second))
		to.printf("at most %s: %s or more\n", rate, span(least))
	}
}

func (b bulk) leftOut(n int) string {
	return fmt.Sprintf("%d left out: the outcome is unknown; --include-unknown takes them in", n)
}

func (b bulk) past() string {
	switch b.act {
	case "replay":
		return "sent again"
	case "restore":
		return "restored"
	}
	return "discarded"
}
