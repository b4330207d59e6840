"""Routes in the files of other programs: QGroundControl's `.plan`, `QGC WPL 110`, GeoJSON, KML. Pure."""
