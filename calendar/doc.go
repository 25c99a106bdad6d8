// Package calendar works out when a route is not to be delivered: windows that a
// cron expression begins, and days of the calendar, in the time of a zone.
//
// A cron library finds days and times on an ideal clock, without zones; what that
// means on a clock that is set twice a year is decided here, in one place
// (wall.go). So no library's idea of daylight saving comes in.
package calendar

// The programs bring the zones along: not every system has them.
import _ "time/tzdata"
