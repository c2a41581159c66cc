package geo

import (
	"sync"
	"sync/atomic"
	"time"
)

// unknownOffset is what the platform's SDKs take as no offset.
const unknownOffset = 9999

// maxZones bounds the zones that are remembered; the world has some 600. A database that names more is answered all the
// same, without memory of it.
const maxZones = 2000

// zones gives the UTC offset of time zones by name. Loading a zone reads a file, so zones are kept; a zone's
// offset changes twice a year, so that is not.
type zones struct {
	known sync.Map // name -> *time.Location, nil for one that does not exist
	count atomic.Int64
}

// offset gives hours times 100 plus minutes, negative west of Greenwich; unknownOffset for a name that is no zone.
func (z *zones) offset(name string, now time.Time) int {
	if name == "" || len(name) > 64 {
		return unknownOffset
	}
	var loc *time.Location
	if v, ok := z.known.Load(name); ok {
		loc = v.(*time.Location)
	} else {
		// LoadLocation refuses names that would lead out of the zone folder.
		loc, _ = time.LoadLocation(name)
		if name == "Local" {
			loc = nil
		}
		if z.count.Load() < maxZones {
			if _, had := z.known.LoadOrStore(name, loc); !had {
				z.count.Add(1)
			}
		}
	}
	if loc == nil {
		return unknownOffset
	}
	_, seconds := now.In(loc).Zone()
	minutes := seconds / 60
	return minutes/60*100 + minutes%60
}
