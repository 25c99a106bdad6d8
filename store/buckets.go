package store

// The buckets.
var (
	bMeta       = []byte("meta")
	bMessages   = []byte("messages")   // id -> record
	bBodies     = []byte("bodies")     // id, revision -> body, when inline
	bAttempts   = []byte("attempts")   // id, turn -> attempt
	bDue        = []byte("due")        // route, due time, id -> turn
	bClaims     = []byte("claims")     // when it is taken over, id -> turn
	bLocks      = []byte("locks")      // lock -> id, turn, revision, generation
	bLeft       = []byte("left")       // route, binding, id -> nothing: what an inbox that lost the route may hold
	bOrder      = []byte("order")      // route, ordering key, order seq -> id
	bDead       = []byte("dead")       // time, id -> nothing
	bGroups     = []byte("groups")     // route, group -> group
	bRoutes     = []byte("routes")     // route number -> routeRow
	bTallies    = []byte("tallies")    // route number, day -> tally
	bKeys       = []byte("keys")       // key id -> keyRow
	bWorkers    = []byte("workers")    // name -> workerRow
	bAudit      = []byte("audit")      // seq -> ferry.AuditEntry
	bOperations = []byte("operations") // id -> ferry.Operation
	bSelected   = []byte("selected")   // operation id, n -> what is to be acted on (see selection.go)
	bOpGroups   = []byte("opgroups")   // operation id, n -> operationGroup
	bOutbox     = []byte("outbox")     // target's hash, number -> ferry.Notice
	bSubs       = []byte("subs")       // id -> Subscription
	bSigners    = []byte("signers")    // key id -> Signer: of the callbacks that its messages ask for
	bEvents     = []byte("events")     // event id -> an end (see events.go)
	bQuotas     = []byte("quotas")     // name -> quotaRow
	bPurged     = []byte("purged")     // route, block -> which accept numbers retention removed
	bEnded      = []byte("ended")      // class, route, when it ended, id -> nothing (see retention.go)
	bDeadIn     = []byte("deadIn")     // route, group, time, id -> nothing: the dead letters of each group
	bTold       = []byte("told")       // what is in a condition -> ferry.ToldCondition
)

func buckets() [][]byte {
	return [][]byte{
		bMeta, bMessages, bBodies, bAttempts, bDue, bClaims, bLeft, bLocks, bOrder, bDead, bGroups, bRoutes,
		bTallies, bKeys, bWorkers, bAudit, bOperations, bSelected, bOpGroups, bOutbox, bEvents, bQuotas, bSubs, bSigners, bPurged, bEnded, bDeadIn, bTold,
	}
}
