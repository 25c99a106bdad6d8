package broker

import (
	"context"
	"time"

	"ferry"
	"ferry/store"
)

// Bulk starts an act on all that req selects, as an operation that outlives the
// request and a restart; a dry run only counts.
func (b *Broker) Bulk(ctx context.Context, act string, req ferry.BulkRequest, by string) (ferry.BulkAnswer, error) {
	answer := ferry.BulkAnswer{ByRoute: map[string]map[ferry.Reason]int{}}
	if err := checkBulk(act, &req); err != nil {
		return answer, err
	}
	selection, err := b.selectBulk(ctx, act, &req, &answer)
	if err != nil {
		return answer, err
	}
	answer.Count, answer.ByRoute, answer.MayExist = selection.Len(), selection.ByRoute, selection.MayExist
	answer.Groups, answer.Gone = selection.Groups(), selection.Gone
	if most := req.Filter.Limit; most > 0 && answer.Count > most {
		return answer, ferry.Errorf(ferry.CodeBadFilter, "the filter selects %d, more than its limit %d", answer.Count, most).
			WithHint("narrow the filter, or leave the limit out")
	}
	if req.DryRun {
		return answer, nil
	}
	if req.Expect != nil && *req.Expect != answer.Count {
		return answer, ferry.Errorf(ferry.CodeCountChanged, "the selection has %d messages, %d were expected", answer.Count, *req.Expect).
			WithHint("look again with --dry-run: dead letters come and go")
	}
	if answer.Count == 0 {
		return answer, nothingToRestore(&req, &answer)
	}
	op := ferry.Operation{
		ID: ferry.NewID(time.Now()).String(), Act: act, Filter: req.Filter, Undoes: req.Operation,
		By: by, KeyID: ferry.CallerOf(ctx).KeyID, Note: req.Note, Rate: req.Rate, CreatedAt: time.Now().UTC(),
	}
	if req.Canary > 0 {
		op.Canary = &ferry.OperationCanary{Size: min(req.Canary, answer.Count)}
	}
	if err := b.ledger.StartOperation(ctx, op, selection); err != nil {
		return answer, err
	}
	b.nudgeOperations()
	answer.OperationID = op.ID
	return answer, nil
}

func checkBulk(act string, req *ferry.BulkRequest) error {
	f := req.Filter
	f.Limit, f.Cursor = 0, ""
	switch {
	case act == ferry.ActDiscard && req.Note == "" && !req.DryRun:
		return noteRequired(act)
	case req.Canary < 0 || req.Canary > ferry.MaxCanary:
		return ferry.Errorf(ferry.CodeInvalid, "a canary of %d messages cannot be", req.Canary).WithHint("from 1 to %d: a few of each group tell enough", ferry.MaxCanary)
	case req.Canary > 0 && act != ferry.ActReplay:
		return ferry.Errorf(ferry.CodeInvalid, "a canary is for messages that are sent again, and not for a %s", act)
	case req.Operation != "" && act != ferry.ActRestore:
		return ferry.Errorf(ferry.CodeBadFilter, "only a restore takes back what an operation did")
	case f == (ferry.DeadLetterFilter{}) && len(req.IDs) == 0 && req.Operation == "" && !req.All:
		return ferry.Errorf(ferry.CodeBadFilter, "neither ids nor a filter say what to %s", act).
			WithHint("all of them, explicitly: --all")
	}
	return nil
}

// selectBulk reads what is selected, in small looks at the ledger.
func (b *Broker) selectBulk(ctx context.Context, act string, req *ferry.BulkRequest, answer *ferry.BulkAnswer) (*store.Selection, error) {
	f := req.Filter
	f.Limit, f.Cursor = 0, ""
	leftOut := func(dead *ferry.DeadLetter) bool {
		if act != ferry.ActReplay || req.IncludeUnknown || dead == nil || dead.Reason != ferry.ReasonOutcomeUnknown {
			return false
		}
		answer.LeftOut++
		return true
	}
	switch {
	case len(req.IDs) > 0:
		return b.ledger.SelectIDs(req.IDs, func(state ferry.State, dead *ferry.DeadLetter) bool {
			return state == ferry.StateDeadLettered && leftOut(dead)
		})
	case req.Operation != "":
		return b.ledger.SelectOperation(ctx, req.Operation)
	case act == ferry.ActRestore:
		return b.ledger.SelectDiscarded(ctx, f, b.ownerOf)
	default:
		return b.ledger.SelectDead(ctx, f, b.ownerOf, func(dead *ferry.DeadLetter) bool { return !leftOut(dead) })
	}
}

// nothingToRestore says that what an operation discarded is gone.
func nothingToRestore(req *ferry.BulkRequest, answer *ferry.BulkAnswer) error {
	if req.Operation == "" || answer.Gone == 0 {
		return nil
	}
	return ferry.Errorf(ferry.CodeNotDiscarded, "none of the %d messages that operation %s discarded can be restored: they were restored already, or their retention has ended and they are gone", answer.Gone, req.Operation).
		WithHint("broker audit has what was done to each")
}
