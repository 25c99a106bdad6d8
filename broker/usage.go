package broker

import (
	"context"

	"ferry"
)

// Used counts a request that ended.
func (b *Broker) Used(*ferry.Use) {}

// Usage lists what was counted.
func (b *Broker) Usage(context.Context, ferry.UsageFilter) ([]ferry.UsageRow, error) { return nil, nil }
