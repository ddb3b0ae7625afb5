UPDATE events SET attempts = attempts + ?, sqlstate = ?, message = ?, due_at = ?, reason = ?, state = ? WHERE seq = ?
