not for copla
