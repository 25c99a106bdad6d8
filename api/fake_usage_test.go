package api_test

import (
	"context"

	"ferry"
)

// Used keeps what ended.
func (f *fake) Used(u *ferry.Use) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uses = append(f.uses, *u)
}

// Usage gives back what it was asked for, as one row.
func (f *fake) Usage(_ context.Context, filter ferry.UsageFilter) ([]ferry.UsageRow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.usageFilter = filter
	return []ferry.UsageRow{{Key: "k3", Name: "flow", Route: "invoices", Requests: 3, Accepted: 2, Refused: 1, ByCode: map[ferry.Code]int64{ferry.CodeEmptyBody: 1}}}, f.err
}
