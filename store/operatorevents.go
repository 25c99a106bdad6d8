package store

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// What operators were told of and holds still lies in the ledger, one entry for each
// route, worker or other thing that can be in a condition. It is written in the
// commit that puts the notices of the event into the outbox, so that a restart
// neither tells it again nor forgets it.

// Telling is a step of what operators are told: the condition of one thing changed.
type Telling struct {
	// What is in the condition, such as route/orders.
	What string
	// Told is what is remembered from now on; zero: nothing, the condition is over.
	Told ferry.ToldCondition
	// Event is told; nil: it is only remembered, or forgotten.
	Event *ferry.OperatorEvent
	// Targets are told beside those who subscribed.
	Targets []ferry.NoticeTarget
}

// TellOperators commits a step.
func (l *Ledger) TellOperators(ctx context.Context, t Telling) error {
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bTold)
		if t.Told.State == "" {
			if err := b.Delete([]byte(t.What)); err != nil {
				return err
			}
		} else if err := putJSON(tx, bTold, []byte(t.What), t.Told); err != nil {
			return err
		}
		if t.Event == nil {
			return nil
		}
		e := *t.Event
		event := ferry.NewID(e.Time)
		n := ferry.Notice{Event: event, At: e.Time, Route: e.Route, Operator: &e}
		e.ID = n.EventID()
		for _, to := range t.Targets {
			n.To = to
			if _, err := l.writeNotice(tx, n); err != nil {
				return err
			}
		}
		for _, s := range l.subs.byEvent[ferry.EventOperator] {
			if !l.hearsOperators(s, e.Route, e.Time) {
				continue
			}
			n.To = s.target()
			if _, err := l.writeNotice(tx, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// hearsOperators says whether a subscription is told events of operators: who
// subscribed may still see what they tell of.
func (l *Ledger) hearsOperators(s *Subscription, route string, now time.Time) bool {
	if s.dropped() || s.Route != "" && s.Route != route {
		return false
	}
	who, ok := l.subscriber(s, now)
	return ok && who.May(ferry.RoleOperator) && (route == "" || who.MaySee(route))
}

// HearsOperators says whether a subscription is told events of operators now.
func (l *Ledger) HearsOperators(s *Subscription, route string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.hearsOperators(s, route, time.Now())
}

// Told lists what operators were told of and holds still, by what it is about.
func (l *Ledger) Told() (list []ferry.ToldCondition, err error) {
	list = []ferry.ToldCondition{}
	err = l.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bTold).ForEach(func(k, v []byte) error {
			var t ferry.ToldCondition
			if json.Unmarshal(v, &t) != nil {
				l.log.Error("what operators were told of cannot be read: they are told again", "what", string(k))
				return nil
			}
			t.What = string(k)
			list = append(list, t)
			return nil
		})
	})
	slices.SortFunc(list, func(a, b ferry.ToldCondition) int { return strings.Compare(a.What, b.What) })
	return list, err
}

// OperatorsSubscribe says whether anybody subscribed to events of operators.
func (l *Ledger) OperatorsSubscribe() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.subs.byEvent[ferry.EventOperator]) > 0
}
