package fat

import (
	"fmt"
	"time"
)

// Years that a date on the disk can have.
const (
	firstYear = 1980
	lastYear  = firstYear + 1<<7 - 1
)

// storable cuts a time down to the two-second steps of FAT.
func storable(t time.Time) (time.Time, error) {
	t = t.UTC()
	if y := t.Year(); y < firstYear || y > lastYear {
		return t, fmt.Errorf("time is %s, FAT knows the years %d to %d", t.Format(time.RFC3339), firstYear, lastYear)
	}
	return t.Truncate(2 * time.Second), nil
}

// encodeTime gives the two words that the disk has for a time.
func encodeTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	date = uint16((t.Year()-firstYear)<<9 | int(t.Month())<<5 | t.Day())
	return date, uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// decodeTime is the reverse; a date that does not exist becomes one that does.
func decodeTime(date, clock uint16) time.Time {
	year, month, day := firstYear+int(date>>9), int(date>>5&0xF), int(date&0x1F)
	return time.Date(year, time.Month(max(month, 1)), max(day, 1), int(clock>>11), int(clock>>5&0x3F), int(clock&0x1F)*2, 0, time.UTC)
}
