package keyvault

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector gives the metrics of the Store. None names a secret.
func (s *Store) Collector() prometheus.Collector {
	return &collector{
		store:  s,
		reads:  prometheus.NewDesc("ferry_secret_reads_total", "Reads of secrets of Key Vault.", []string{"outcome"}, nil),
		kept:   prometheus.NewDesc("ferry_secrets", "Secrets of Key Vault that are in use, by how their last read went.", []string{"state"}, nil),
		oldest: prometheus.NewDesc("ferry_secret_oldest_age_seconds", "Since when the secret of Key Vault that was not read for longest was not read.", nil, nil),
	}
}

type collector struct {
	store               *Store
	reads, kept, oldest *prometheus.Desc
}

// Describe tells what there is.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.reads
	to <- c.kept
	to <- c.oldest
}

// Collect gives the numbers as they are.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, outcome := range []string{outcomeRead, outcomeUnavailable, outcomeRefused} {
		to <- prometheus.MustNewConstMetric(c.reads, prometheus.CounterValue, float64(s.reads[outcome]), outcome)
	}
	fresh, stale, missing, oldest := 0, 0, 0, time.Duration(0)
	for _, e := range s.entries {
		switch {
		case !e.known:
			missing++
			continue
		case e.fault != nil:
			stale++
		default:
			fresh++
		}
		oldest = max(oldest, time.Since(e.readAt))
	}
	for state, n := range map[string]int{"fresh": fresh, "stale": stale, "missing": missing} {
		to <- prometheus.MustNewConstMetric(c.kept, prometheus.GaugeValue, float64(n), state)
	}
	to <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, oldest.Seconds())
}
